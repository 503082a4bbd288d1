"""From marks to thresholds: the value with the fewest mistakes."""

import dataclasses
import math

import numpy as np

from data_pipelines.curation.photographs.labels import wilson
from sapiens2_jax.audit.curation import Threshold
from sapiens2_jax.audit.marks import Marks

MIN_MARKS = 20
_CHANCE = 0.05
_SIGNS = {"min": 1, "max": -1}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a threshold does to the marked images.

  Attributes:
    value: of the threshold.
    num_right: kept, as they should be.
    num_kept: by the threshold.
    num_wanted: that should be kept.
  """

  value: float
  num_right: int
  num_kept: int
  num_wanted: int

  @property
  def num_mistakes(self) -> int:
    return self.num_kept + self.num_wanted - 2 * self.num_right


@dataclasses.dataclass(frozen=True)
class Proposal:
  """What marks say of a threshold.

  Attributes:
    threshold: as it was.
    num_marks: images that something was said of.
    why_not: why there is no proposal, "" if there is one.
    old, new: outcomes; the same where nothing is better.
    num_left_out: mistakes if each image is judged at the value that the
      others alone would propose: what `new` owes to choosing is not in it.
    num_mended, num_broken: images that the new value gets right, and wrong,
      unlike the old one.
    is_at_edge: nothing was marked beyond the new value.
  """

  threshold: Threshold
  num_marks: int
  why_not: str
  old: Outcome
  new: Outcome
  num_left_out: int = 0
  num_mended: int = 0
  num_broken: int = 0
  is_at_edge: bool = False

  @property
  def chance(self) -> float:
    """Of a change at least so one-sided, if old and new were equally good."""
    return sign_test(self.num_mended, self.num_broken)

  @property
  def is_better(self) -> bool:
    """Whether chance does not explain that the new value is better."""
    return self.chance <= _CHANCE


def propose(threshold: Threshold, marks: Marks) -> Proposal:
  """The value with the fewest mistakes; of equal ones the nearest.

  Nothing beyond the marked images is proposed. Fewer than 20 images, or a
  sheet that was not looked through, give no proposal.
  """
  known = np.isfinite(marks.values)
  values, should_keep = marks.values[known], marks.should_keep[known]
  old = _outcome(threshold, threshold.value, values, should_keep)
  why_not = ""
  if not marks.is_whole:
    why_not = (
      "the sheet is not ticked as looked through, so what is right is not known"
    )
  elif len(values) < MIN_MARKS:
    why_not = f"too few marks: {len(values)}, at least {MIN_MARKS} are needed"
  if why_not:
    return Proposal(threshold, len(values), why_not, old, old)
  value = choose(threshold, values, should_keep)
  new = _outcome(threshold, value, values, should_keep)
  others = ~np.eye(len(values), dtype=bool)
  left_out = [
    _keeps(threshold, choose(threshold, values[rest], should_keep[rest]), one)
    for one, rest in zip(values, others)
  ]
  was_kept = _keeps(threshold, threshold.value, values)
  is_kept = _keeps(threshold, value, values)
  before, after = was_kept == should_keep, is_kept == should_keep
  return Proposal(
    threshold,
    len(values),
    "",
    old,
    new,
    num_left_out=int((np.array(left_out) != should_keep).sum()),
    num_mended=int((after & ~before).sum()),
    num_broken=int((before & ~after).sum()),
    is_at_edge=bool(
      value != threshold.value and is_kept.all() | ~is_kept.any()
    ),
  )


def choose(
  threshold: Threshold, values: np.ndarray, should_keep: np.ndarray
) -> float:
  """The threshold with the fewest mistakes; of equal ones the nearest.

  Args:
    threshold: its column, end, and value.
    values: (n,) without NaN, n > 0.
    should_keep: (n,) bool.
  """
  # As if it were the lower end: what is at least `level` is kept.
  sign = _SIGNS[threshold.end]
  levels, place = np.unique(sign * values, return_inverse=True)
  wanted = np.bincount(place, should_keep, len(levels))
  unwanted = np.bincount(place, ~should_keep, len(levels))
  # Of keeping levels[i] and what is above; the last one keeps nothing.
  lost, let_in = (
    np.append(0, counts.cumsum()) for counts in (wanted, unwanted)
  )
  mistakes = lost + unwanted.sum() - let_in
  now = int(np.searchsorted(levels, sign * threshold.value))
  best = np.flatnonzero(mistakes == mistakes.min())
  best = best[np.argmin(np.abs(best - now))]
  if best == now:
    return threshold.value
  room = (levels[-1] - levels[0]) / 20 or 1.0
  levels = np.concatenate([levels[:1] - room, levels, levels[-1:] + room])
  is_whole = isinstance(threshold.value, int)
  return sign * _tidy(levels[best], levels[best + 1], is_whole) + 0


def _tidy(low: float, high: float, is_whole: bool) -> float:
  """A short number above `low` and at most `high`, or `high`."""
  middle = (low + high) / 2
  if is_whole:
    return next(
      (n for n in (math.ceil(middle), math.floor(high)) if low < n <= high),
      math.floor(low) + 1,
    )
  shorter = (float(f"{middle:.{digits}g}") for digits in range(2, 17))
  return next((x for x in shorter if low < x <= high), float(high))


def sign_test(num_for: int, num_against: int) -> float:
  """Two-sided; 1 where nothing changes."""
  count, few = num_for + num_against, min(num_for, num_against)
  tail = sum(math.comb(count, k) for k in range(few + 1)) / 2**count
  return min(1.0, 2 * tail)


def _keeps(threshold: Threshold, value: float, values: np.ndarray):
  return values >= value if threshold.end == "min" else values <= value


def _outcome(
  threshold: Threshold,
  value: float,
  values: np.ndarray,
  should_keep: np.ndarray,
) -> Outcome:
  kept = _keeps(threshold, value, values)
  return Outcome(
    value,
    int((kept & should_keep).sum()),
    int(kept.sum()),
    int(should_keep.sum()),
  )


def format_proposal(proposal: Proposal) -> str:
  """A few lines for the console."""
  threshold, old, new = proposal.threshold, proposal.old, proposal.new
  wanted = old.num_wanted
  lines = [
    f"{threshold.field}={threshold.value}  {proposal.num_marks} marks: "
    f"{wanted} to keep, {proposal.num_marks - wanted} to reject",
    _format_outcome(old),
  ]
  if proposal.why_not:
    lines.append(f"  no proposal: {proposal.why_not}.")
  elif new.value == old.value:
    lines.append("  no other value has fewer mistakes.")
  else:
    lines += [
      _format_outcome(new),
      f"  mends {proposal.num_mended}, breaks {proposal.num_broken} "
      f"(sign test p {proposal.chance:.2g}); {proposal.num_left_out} mistakes "
      "where each image is judged by the marks of the others",
    ]
    if not proposal.is_better:
      lines.append("  Not proposed, as this may be chance: mark more images.")
    if proposal.is_at_edge:
      lines.append(
        "  Nothing was marked beyond it: curate with it and look again."
      )
  return "\n".join(lines)


def _format_outcome(outcome: Outcome) -> str:
  shares = [
    _format_share(name, outcome.num_right, count)
    for name, count in (
      ("precision", outcome.num_kept),
      ("recall", outcome.num_wanted),
    )
  ]
  count = outcome.num_mistakes
  return f"  at {outcome.value:<10g} {count:>3} mistakes  {'  '.join(shares)}"


def _format_share(name: str, hits: int, count: int) -> str:
  if not count:
    return f"{name} -"
  low, high = wilson(hits, count)
  return f"{name} {hits}/{count} = {hits / count:.3f} [{low:.3f}, {high:.3f}]"


def overrides(proposals: list[Proposal]) -> str:
  """What to give `curate`, "" if nothing is proposed."""
  return " ".join(
    f"--config.{p.threshold.field}={p.new.value!r}"
    for p in proposals
    if p.is_better
  )
