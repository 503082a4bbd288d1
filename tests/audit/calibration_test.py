"""Thresholds from marks, against all thresholds and numbers made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapiens2_jax.audit import calibration
from sapiens2_jax.audit.curation import Threshold
from sapiens2_jax.audit.marks import Marks

LOW = Threshold("quality", "sharpness", "min", 5.0)
HIGH = Threshold("quality", "blocks", "max", 5.0)


def mistakes(threshold, value, values, should_keep):
  kept = values >= value if threshold.end == "min" else values <= value
  return int((kept != should_keep).sum())


@given(
  st.sampled_from([LOW, HIGH]),
  st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1),
)
def test_no_other_value_has_fewer_mistakes(threshold, given):
  values = np.float64([value for value, _ in given])
  should_keep = np.array([keep for _, keep in given])
  value = calibration.choose(threshold, values, should_keep)
  found = mistakes(threshold, value, values, should_keep)
  others = [
    mistakes(threshold, other, values, should_keep)
    for other in np.arange(-0.5, 10)
  ]
  assert found == min(others)
  old = mistakes(threshold, threshold.value, values, should_keep)
  assert value == threshold.value or found < old


@pytest.mark.parametrize(
  "threshold, keep, reject, expected",
  [
    (LOW, [6, 7, 8], [3, 4], 5.0),  # It was right.
    (LOW, [3.2, 4.4, 8], [1, 2], 2.6),  # The nearest with no mistake.
    (LOW, [7.31, 8], [2, 6.9], 7.1),
    (HIGH, [4, 6.2], [6.8, 9], 6.5),
    (HIGH, [1, 2], [3, 4], 2.5),
    # What should be kept is all above, or all below, of what was marked.
    (LOW, [1, 2, 3], [], 0.95),
    (LOW, [], [6, 7, 8], 8.1),
    (Threshold("q", "side", "min", 5), [9, 10], [6, 7], 8),  # Integers stay.
    (Threshold("q", "side", "max", 5), [6, 7], [8, 9], 7),
  ],
)
def test_values_are_short_and_between_what_is_marked(
  threshold, keep, reject, expected
):
  values = np.float64([*keep, *reject])
  should_keep = np.array([True] * len(keep) + [False] * len(reject))
  value = calibration.choose(threshold, values, should_keep)
  assert value == pytest.approx(expected, rel=1e-9)
  assert type(value) is type(threshold.value)
  assert mistakes(threshold, value, values, should_keep) == 0


def test_a_sign_test_by_hand():
  assert calibration.sign_test(6, 0) == 2 / 64
  assert calibration.sign_test(5, 1) == 2 * 7 / 64
  assert calibration.sign_test(1, 0) == calibration.sign_test(0, 0) == 1


def make_marks(is_whole=True):
  """0 to 29; from 12 on to be kept, but 20 is not and 3 is."""
  values = np.arange(30.0)
  should_keep = values >= 12
  should_keep[[3, 20]] = [True, False]
  return Marks(is_whole, values, should_keep)


def test_precision_and_recall_are_counted_at_both_values():
  proposal = calibration.propose(LOW, make_marks())
  # At 5: keeps 25, of which 20 is wrong and 5 to 11 are. 18 to keep.
  assert proposal.old == calibration.Outcome(5.0, 17, 25, 18)
  assert proposal.old.num_mistakes == 9
  assert proposal.new == calibration.Outcome(12.0, 17, 18, 18)
  assert (proposal.num_mended, proposal.num_broken) == (7, 0)
  assert proposal.chance == 2 / 128 and proposal.is_better
  # Beside 3 and 20: without 11 the middle of 10 and 12 would keep it.
  assert proposal.num_left_out == 3
  assert not proposal.is_at_edge
  assert calibration.format_proposal(proposal).splitlines() == [
    "quality.min_sharpness=5.0  30 marks: 18 to keep, 12 to reject",
    "  at 5            9 mistakes  precision 17/25 = 0.680 [0.484, 0.828]  "
    "recall 17/18 = 0.944 [0.742, 0.990]",
    "  at 12           2 mistakes  precision 17/18 = 0.944 [0.742, 0.990]  "
    "recall 17/18 = 0.944 [0.742, 0.990]",
    "  mends 7, breaks 0 (sign test p 0.016); 3 mistakes where each image is "
    "judged by the marks of the others",
  ]
  assert calibration.overrides([proposal]) == (
    "--config.quality.min_sharpness=12.0"
  )


def test_what_may_be_chance_is_not_proposed():
  values = np.arange(30.0)
  proposal = calibration.propose(LOW, Marks(True, values, values >= 8))
  assert (proposal.num_mended, proposal.chance) == (3, 0.25)
  assert "may be chance" in calibration.format_proposal(proposal)
  assert calibration.overrides([proposal]) == ""


def test_too_few_marks_and_half_looked_at_sheets_give_no_proposal():
  marks = make_marks()
  few = Marks(True, marks.values[:19], marks.should_keep[:19])
  proposal = calibration.propose(LOW, few)
  assert "too few marks: 19, at least 20" in calibration.format_proposal(
    proposal
  )
  assert proposal.new == proposal.old
  proposal = calibration.propose(LOW, make_marks(is_whole=False))
  text = calibration.format_proposal(proposal)
  assert "not ticked as looked through" in text
  assert calibration.overrides([proposal]) == ""


def test_a_value_beyond_all_marks_says_so():
  values = np.arange(20.0)
  proposal = calibration.propose(LOW, Marks(True, values, values >= 0))
  assert proposal.is_at_edge and proposal.new.num_mistakes == 0
  assert "look again" in calibration.format_proposal(proposal)


def test_a_threshold_that_is_right_stays():
  values = np.arange(20.0)
  proposal = calibration.propose(LOW, Marks(True, values, values >= 5))
  text = calibration.format_proposal(proposal)
  assert "no other value has fewer mistakes" in text
  assert not proposal.is_at_edge
