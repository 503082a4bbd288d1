import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.loading import order

MIXTURES = st.lists(
  st.tuples(st.integers(1, 50), st.integers(1, 40)), min_size=1, max_size=5
)


def _take(sizes, weights, count, **options):
  made = order.Order(sizes, weights, seed=3, **options)
  return [made[position] for position in range(count)]


@pytest.mark.parametrize("size", [7, 1024, 1025])
def test_each_epoch_has_each_record_once_in_another_order(size):
  taken = _take([size], [1], 3 * size)
  assert [epoch for _, epoch in taken] == [p // size for p in range(3 * size)]
  epochs = [tuple(r for r, e in taken if e == number) for number in range(3)]
  assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
  assert len(set(epochs)) == 3


@pytest.mark.parametrize("size", [1000, 2000])
def test_seeds_give_unrelated_orders(size):
  orders = [
    [order.Order([size], [1], seed=seed)[p][0] for p in range(3 * size)]
    for seed in range(2)
  ]
  # Grain alone would make epoch 1 of seed 0 epoch 0 of seed 1.
  assert orders[0][size : 2 * size] != orders[1][:size]
  assert np.mean(np.equal(*orders)) < 0.01


@pytest.mark.parametrize("size", [1000, 2000])
def test_equal_sources_are_shuffled_apart(size):
  taken = [record for record, _ in _take([size, size], [1, 1], 2 * size)]
  first = [record for record in taken if record < size]
  second = [record - size for record in taken if record >= size]
  assert np.mean(np.equal(first, second)) < 0.01


def test_orders_stay_what_they_were_when_this_was_written():
  assert [record for record, _ in _take([5], [1], 10)] == [
    2,
    4,
    1,
    3,
    0,
    0,
    1,
    2,
    3,
    4,
  ]
  assert [record for record, _ in _take([10**9], [1], 4)] == [
    530603048,
    454366677,
    247469835,
    175447730,
  ]


def test_order_takes_a_billion_records_and_late_epochs():
  made = order.Order([10**9], [1], seed=5)
  ahead = [made[position][0] for position in range(10**12, 10**12 + 500)]
  assert len(set(ahead)) == 500 and max(ahead) < 10**9
  assert np.std(ahead) > 2e8  # Uniform: 2.9e8.


@settings(deadline=None, max_examples=50)
@given(MIXTURES, st.integers(1, 400))
def test_fractions_follow_the_weights_at_every_position(mixture, count):
  sizes, weights = zip(*mixture)
  ends = list(itertools.accumulate(sizes))
  counts = [0] * len(sizes)
  for position, (record, _) in enumerate(_take(sizes, weights, count)):
    counts[next(i for i, end in enumerate(ends) if record < end)] += 1
    for number, weight in enumerate(weights):
      exact = (position + 1) * weight / sum(weights)
      assert abs(counts[number] - exact) < number + 1


def test_fractions_are_exact_after_each_round_of_weights():
  # Weights that per cents cannot express.
  weights = (7, 3, 1)
  taken = _take([10**9, 10, 10**6], weights, 11_000)
  found = collections.Counter(
    0 if record < 10**9 else 1 if record < 10**9 + 10 else 2
    for record, _ in taken
  )
  assert [found[number] for number in range(3)] == [7000, 3000, 1000]


@settings(deadline=None, max_examples=30)
@given(MIXTURES)
def test_every_source_counts_its_own_epochs(mixture):
  sizes, weights = zip(*mixture)
  starts = [sum(sizes[:number]) for number in range(len(sizes))]
  seen = collections.Counter()
  for record, epoch in _take(sizes, weights, 300):
    assert epoch == seen[record]
    seen[record] += 1
  for start, size in zip(starts, sizes):
    times = [seen[record] for record in range(start, start + size)]
    assert max(times) - min(times) <= 1


def test_weights_by_size_show_each_image_equally_often():
  seen = collections.Counter(r for r, _ in _take([5, 20, 1], [5, 20, 1], 78))
  assert set(seen.values()) == {3} and len(seen) == 26


def test_without_shuffle_each_source_keeps_its_order():
  taken = [r for r, _ in _take([3, 4], [1, 1], 14, shuffle=False)]
  assert [r for r in taken if r < 3] == [0, 1, 2, 0, 1, 2, 0]
  assert [r for r in taken if r >= 3] == [3, 4, 5, 6, 3, 4, 5]


@pytest.mark.parametrize("record, expected", [(0, 0), (4, 0), (5, 1), (24, 1)])
def test_source_of_a_record(record, expected):
  spans = range(0, 5), range(5, 25)
  made = order.Order([5, 20], [1, 1], seed=0)
  assert made.source_of(record) == spans[expected]
