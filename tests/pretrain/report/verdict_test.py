"""What the page says of a run, from its numbers alone."""

import pytest

from sapiens2_jax.pretrain.report.verdict import judge
from sapiens2_jax.report.page import Section

GOOD = {"training_crops_loss": 0.7, "training_crops_patch_mean_loss": 1.0}
BAD = {"training_crops_loss": 0.98, "training_crops_patch_mean_loss": 1.0}
FOUND = {
  **{"share": 1.0, "random_weights_share": 0.7, "num_crops": 32},
  **{"rank_me": 12.0, "rank_me_max": 32},
}
NOT_FOUND = FOUND | {"share": 0.75}  # 0.4 standard errors more


def said(patches, near, is_own=False):
  given = (("reconstruction", patches), ("neighbors", near))
  sections = [Section(name, name, numbers=numbers) for name, numbers in given]
  verdict = judge(sections, is_own)
  return verdict.is_good, verdict.text


@pytest.mark.parametrize(
  "patches, near, is_good, start",
  [
    (GOOD, FOUND, True, "It has learned: it fills in hidden patches with 30%"),
    (None, FOUND, True, "It has learned: it finds another crop"),
    (GOOD, NOT_FOUND, None, "It has learned in part: it fills in"),
    (BAD, FOUND, None, "It has learned in part: it finds"),
    (
      BAD,
      NOT_FOUND,
      False,
      "It has not learned: it fills in hidden patches no",
    ),
    (GOOD, FOUND | {"rank_me": 1.2}, False, "It has collapsed"),
    (None, None, None, "Nothing can be said"),
    (None, FOUND | {"share": float("nan")}, None, "Nothing can be said"),
  ],
)
def test_the_verdict_is_that_of_the_numbers(patches, near, is_good, start):
  found, text = said(patches, near)
  assert found is is_good and text.startswith(start)


def test_it_says_that_it_was_trained_on_what_it_is_judged_by():
  assert "trained on" in said(GOOD, FOUND, is_own=True)[1]
  assert "trained on" not in said(GOOD, FOUND)[1]


def test_two_photographs_may_have_features_along_one_direction():
  near = FOUND | {"rank_me": 1.2, "rank_me_max": 3}
  assert said(GOOD, near)[0]


def test_less_than_by_random_weights_is_not_hardly_more():
  assert "hardly more often" in said(GOOD, NOT_FOUND)[1]
  assert "no more often" in said(GOOD, FOUND | {"share": 0.6})[1]


def test_where_random_weights_find_all_features_say_nothing():
  near = FOUND | {"random_weights_share": 1.0, "num_crops": 8}
  is_good, text = said(BAD, near)
  assert is_good is False and "says nothing of its features" in text
  is_good, text = said(GOOD, near | {"share": 0.2})
  assert is_good is None and "no more often" in text
