"""Whether a run has learned, in a sentence, from what was measured."""

import math
from collections.abc import Sequence

from sapiens2_jax.pretrain.report import neighbors, reconstruction
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.page import Section, Verdict

# All ours. The loss on masked patches must be so much below that of patch
# means, and the gap in retrieval so many standard errors above 0.
_MIN_GAIN = 0.05
_MIN_ERRORS = 2.0
# Features that lie along fewer directions than this have collapsed.
_MIN_RANK, _RANK_IS_KNOWN = 1.5, 4


def judge(sections: Sequence[Section], is_own: bool) -> Verdict:
  """What can be said of a run.

  Args:
    sections: on photographs; without their numbers nothing can be said.
    is_own: whether the photographs are those of the run.
  """
  numbers = {section.name: section.numbers for section in sections}
  found = []
  if numbers.get(reconstruction.NAME):
    found.append(_judge_patches(numbers[reconstruction.NAME]))
  near = numbers.get(neighbors.NAME)
  is_known = near and not math.isnan(near["share"])
  is_telling = is_known and _is_telling(near)
  if is_telling:
    found.append(_judge_features(near))
  if not found:
    return Verdict("Nothing can be said: nothing could be measured.")
  if near and _has_collapsed(near):
    return Verdict(
      "It has collapsed: features of all photographs are nearly the same "
      f"(RankMe {near['rank_me']:.1f} of at most {near['rank_me_max']}).",
      False,
    )
  good = [said for is_good, said in found if is_good]
  bad = [said for is_good, said in found if not is_good]
  if not bad:
    text = f"It has learned: it {' and '.join(good)}."
  elif not good:
    text = f"It has not learned: it {' and '.join(bad)}."
  else:
    text = f"It has learned in part: it {good[0]}, but {bad[0]}."
  if is_known and not is_telling:
    share, by_random = near["share"], near["random_weights_share"]
    text += (
      f" Another crop is found for {share:.0%}, with random weights for "
      f"{by_random:.0%}: here that says nothing of its features."
    )
  if is_own:
    text += (
      " These are photographs it was trained on: this says that it learns, "
      "not how well it does on others."
    )
  return Verdict(text, None if good and bad else bool(good))


def _is_telling(near: dict) -> bool:
  """False if random weights find all, and these do no worse.

  So it is with few or very different photographs: the best features cannot do
  better.
  """
  count, by_random = near["num_crops"], near["random_weights_share"]
  return _is_more(1.0, by_random, count) or _is_more(
    by_random, near["share"], count
  )


def _is_more(share: float, by_random: float, num_crops: int) -> bool:
  variance = share * (1 - share) + by_random * (1 - by_random)
  return share - by_random > _MIN_ERRORS * math.sqrt(variance / num_crops)


def _has_collapsed(near: dict) -> bool:
  is_known = near["rank_me_max"] >= _RANK_IS_KNOWN
  return is_known and near["rank_me"] < _MIN_RANK


def _judge_patches(numbers: dict) -> tuple[bool, str]:
  loss = numbers["training_crops_loss"]
  mean = numbers["training_crops_patch_mean_loss"]
  gain = 1 - loss / mean
  if gain >= _MIN_GAIN:
    return True, (
      f"fills in hidden patches with {gain:.0%} less error than their mean "
      f"colour has ({loss:.3f} against {mean:.3f})"
    )
  return False, (
    "fills in hidden patches no better than their mean colour does "
    f"({loss:.3f} against {mean:.3f})"
  )


def _judge_features(numbers: dict) -> tuple[bool, str]:
  share, by_random = numbers["share"], numbers["random_weights_share"]
  found, random = (show(x, "{:.0%}") for x in (share, by_random))
  said = "finds another crop of the same photograph"
  if _is_more(share, by_random, numbers["num_crops"]):
    return True, f"{said} for {found} of crops ({random} with random weights)"
  much = "hardly" if share > by_random else "no"
  return False, (
    f"{said} {much} more often than random weights do ({found} against "
    f"{random} of {numbers['num_crops']} crops)"
  )
