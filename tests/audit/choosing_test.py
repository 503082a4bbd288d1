"""What the page shows, against counts made by hand."""

import numpy as np
import pytest

from sapiens2_jax.audit import choosing

NAN = float("nan")


def test_outer_bins_hold_what_lies_beyond_and_nan_is_in_none():
  bins = choosing.Bins(np.float64([0, 1, 2, 3]))
  counts = bins.count(np.float64([-5, 0.5, 1, 2.9, 7, NAN]))
  assert counts.tolist() == [2, 1, 2]
  assert bins.count(np.float64([NAN])).tolist() == [0, 0, 0]


def test_values_are_placed_on_a_linear_and_a_logarithmic_axis():
  linear = choosing.Bins(np.float64([0, 1, 4]))
  assert [linear.place(x) for x in (-1, 1, 3, 9)] == [0, 0.25, 0.75, 1]
  log = choosing.Bins(np.float64([1, 10, 100]), is_log=True)
  places = [log.place(x) for x in (0, 10, 1000)]
  assert places == pytest.approx([0, 0.5, 1])


def test_few_whole_numbers_have_a_bin_each():
  values = np.float64([0, 1, 1, 3, NAN])
  bins = choosing.make_bins(values)
  assert bins.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
  assert bins.count(values).tolist() == [1, 2, 0, 1]


def test_bins_reach_beyond_thresholds_and_know_long_tails():
  values = np.linspace(0.2, 0.4, 50)
  bins = choosing.make_bins(values, [0.9], num_bins=10)
  assert len(bins.edges) == 11 and not bins.is_log
  assert bins.edges[0] < 0.2 and bins.edges[-1] > 0.9
  assert bins.count(values).sum() == 50
  assert choosing.make_bins(np.geomspace(1, 1000, 50)).is_log
  # Zero has no place on a logarithmic axis.
  with_zeros = np.append(np.geomspace(1, 1000, 50), np.zeros(5))
  assert not choosing.make_bins(with_zeros).is_log


@pytest.mark.parametrize("values", [[], [NAN], [2.5], [7.0, 7.0]])
def test_bins_of_hardly_any_values(values):
  values = np.float64(values)
  bins = choosing.make_bins(values)
  assert (np.diff(bins.edges) > 0).all()
  assert bins.count(values).sum() == np.isfinite(values).sum()


def test_the_nearest_come_first_and_each_name_once():
  values = np.float64([5, 9, NAN, 5.5, 1, 6, 4])
  names = ["a", "b", "c", "d", "e", "d", "f"]
  rows = np.array([0, 1, 2, 3, 4, 5])
  found = choosing.nearest(values, rows, 5.2, names.__getitem__, 9)
  # Distances 0.2, 3.8, -, 0.3, 4.2, 0.8; row 5 is named as row 3.
  assert found.tolist() == [0, 3, 1, 4]
  found = choosing.nearest(values, rows, 5.2, names.__getitem__, 2)
  assert found.tolist() == [0, 3]
  found = choosing.nearest(values, rows[:0], 5.2, names.__getitem__, 2)
  assert found.tolist() == []


def test_copies_of_copies_belong_to_what_is_kept_in_the_end():
  same_row = np.array([-1, 0, 1, -1, 5, -1, 5, 5, -1])
  assert choosing.find_roots(same_row).tolist() == [0, 0, 0, 3, 5, 5, 5, 5, 8]
  groups = choosing.group_duplicates(same_row)
  assert {k: v.tolist() for k, v in groups.items()} == {
    5: [4, 6, 7],
    0: [1, 2],
  }
  assert list(groups) == [5, 0]
  assert choosing.group_duplicates(np.full(3, -1)) == {}


def test_evenness_counts_bins():
  assert choosing.count_even(np.array([3, 3, 0, 3])) == pytest.approx(3)
  assert choosing.count_even(np.array([9, 0])) == pytest.approx(1)
  # Shares of 1/2, 1/4, 1/4: an entropy of 1.5 bits.
  assert choosing.count_even(np.array([2, 1, 1])) == pytest.approx(2**1.5)
