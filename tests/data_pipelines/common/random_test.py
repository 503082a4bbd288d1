import numpy as np
import pytest

from data_pipelines.common import random

# A seed means these numbers; changed, every run would see other crops.
FIRST = {
  random.Purpose.CROPS: 13175769691850529721,
  random.Purpose.ORDER: 7185938632037355422,
  random.Purpose.TASK: 13634275110944753519,
  random.Purpose.PROBE: 11410937175745198146,
}


def _draw(purpose, **changed):
  given = {"seed": 7, "index": 3, "epoch": 2, **changed}
  return int(random.make_generator(purpose, **given).bit_generator.random_raw())


def test_no_two_purposes_have_one_number():
  members = random.Purpose.__members__  # Also names for the same number.
  assert len(set(members.values())) == len(members)
  assert set(FIRST) == set(random.Purpose)


@pytest.mark.parametrize("purpose", random.Purpose)
def test_the_stream_of_a_purpose_stays_what_it_is(purpose):
  assert _draw(purpose) == FIRST[purpose]


def test_each_word_gives_another_stream():
  draws = {_draw(purpose) for purpose in random.Purpose}
  for name in ("seed", "index", "epoch"):
    draws.add(_draw(random.Purpose.CROPS, **{name: 9}))
  assert len(draws) == len(random.Purpose) + 3


def test_large_seeds_are_allowed():
  generator = random.make_generator(
    random.Purpose.ORDER, seed=2**64 - 1, index=2**31, epoch=0
  )
  assert generator.random(2).dtype == np.float64
