import fractions
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import sources


class Numbers:
  """A source of the texts "a0", "a1", ..."""

  def __init__(self, label, size):
    self._label = label
    self._size = size

  def __len__(self):
    return self._size

  def __getitem__(self, index):
    return f"{self._label}{index}"

  def name(self, index):
    return f"name of {self[index]}"

  def location(self, index):
    return f"file of {self[index]}"


def mix(*sizes, weights=None):
  return sources.Mixture(
    [Numbers("abcdef"[i], size) for i, size in enumerate(sizes)], weights
  )


def test_sources_follow_one_another():
  mixture = mix(2, 1, 3)
  assert len(mixture) == 6 and mixture.sizes == (2, 1, 3)
  wanted = ["a0", "a1", "b0", "c0", "c1", "c2"]
  assert [mixture[index] for index in range(6)] == wanted
  for index, text in enumerate(wanted):
    assert mixture.name(index) == f"name of {text}"
    assert mixture.location(index) == f"file of {text}"
  copy = pickle.loads(pickle.dumps(mixture))
  assert copy[4] == "c1" and copy.weights == mixture.weights


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_out_of_range_is_an_error(index):
  mixture = mix(2, 1, 3)
  for read in (mixture.__getitem__, mixture.name, mixture.location):
    with pytest.raises(IndexError, match=f"index={index} "):
      read(index)


def test_without_weights_each_image_counts_the_same():
  assert mix(30, 20).weights == (3, 2)


@given(
  st.lists(
    st.fractions(
      min_value=fractions.Fraction(1, 997), max_value=1000, max_denominator=997
    ),
    min_size=1,
    max_size=6,
  )
)
def test_weights_become_whole_numbers_of_exactly_the_same_fractions(weights):
  mixture = mix(*[5] * len(weights), weights=weights)
  total = sum(mixture.weights)
  for whole, weight in zip(mixture.weights, weights):
    assert type(whole) is int
    assert fractions.Fraction(whole, total) == weight / sum(weights)
  assert math.gcd(*mixture.weights) == 1


@pytest.mark.parametrize(
  "sizes, weights, message",
  [
    ((), None, "at least one source"),
    ((3, 0), None, "source 1 has no records"),
    ((3, 3), [1, 0], "source 1: weight 0 must be above 0"),
    ((3, 3), [fractions.Fraction(-1, 2), 1], "source 0: weight -1/2"),
    ((3, 3), [1], "1 weights for 2 sources"),
  ],
)
def test_what_cannot_be_mixed_is_refused(sizes, weights, message):
  if weights:
    weights = list(map(fractions.Fraction, weights))
  with pytest.raises(ValueError, match=message):
    mix(*sizes, weights=weights)
