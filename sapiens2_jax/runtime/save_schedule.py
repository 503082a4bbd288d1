"""When to save: at a fixed interval, or as often as saving is worth."""

import math
from collections.abc import Callable

# A run with a derived interval saves here first, to see what saving costs.
FIRST_STEPS = 100
_SHORTEST, _LONGEST = 60.0, 3600.0  # Seconds between saves.


def derived_seconds(cost: float, written: float, mtbf: float) -> float:
  """Time between saves that loses least: Young's sqrt(2 * cost * mtbf).

  Args:
    cost: seconds that a save keeps the steps waiting.
    written: seconds until a save is on disk; the next must not begin before.
    mtbf: mean seconds between failures.

  Returns:
    Seconds, 60 to 3600; more only if writing takes longer. (Of steps as long as
    the last ones; see `SaveSchedule.begin`.)

  Source: Young 1974, doi 10.1145/361147.361115; bounds: ours.
  """
  best = min(max(math.sqrt(2 * cost * mtbf), _SHORTEST), _LONGEST)
  return max(best, 1.25 * (cost + written))


def derived_steps(
  cost: float, written: float, mtbf: float, step_seconds: float
) -> int:
  """`derived_seconds` in whole steps, at least one."""
  seconds = derived_seconds(cost, written, mtbf)
  return max(1, round(seconds / step_seconds))


class SaveSchedule:
  """The step of the next save, the same in all processes."""

  def __init__(
    self,
    start: int,
    *,
    every: int,
    keep_every: int,
    mtbf: float,
    share: Callable[[str, int], int],
    trained: float = 0.0,
  ):
    """Starts at a step.

    Args:
      start: step that comes first.
      every: steps between saves; 0 derives it from what a save costs.
      keep_every: multiples of this are saved in any case, and kept.
      mtbf: mean seconds between failures.
      share: see `distributed.broadcast`.
      trained: seconds of training before.
    """
    self._every, self._keep_every = every, keep_every
    self._mtbf, self._share = mtbf, share
    self.begin(start, trained)

  def begin(self, step: int, trained: float) -> None:
    """From `step` on steps may take another time: looks again, soon.

    Args:
      step: that comes next.
      trained: seconds of training so far.
    """
    self._last = step, trained
    self._next = step + FIRST_STEPS

  def is_due(self, step: int) -> bool:
    """Whether to save before `step`."""
    if step % self._keep_every == 0:
      return True
    return step % self._every == 0 if self._every else step >= self._next

  def saved(
    self, step: int, *, cost: float, written: float, trained: float
  ) -> None:
    """Takes in what a save cost; derives and prints the next interval.

    All processes must call this, with their own measurements; those of
    process 0 count.

    Args:
      step: of the save.
      cost: seconds that it kept the steps waiting.
      written: seconds the one before took to be written, 0 if unknown.
      trained: seconds of training so far.
    """
    if self._every:
      return
    last_step, last_trained = self._last
    step_seconds = (trained - last_trained) / max(1, step - last_step)
    interval = self._share(
      f"save_interval/{step}",
      derived_steps(cost, written, self._mtbf, max(step_seconds, 1e-6)),
    )
    self._last, self._next = (step, trained), step + interval
    print(
      f"saved      step {step}: {cost:.2f} s of waiting, {step_seconds:.2f} s "
      f"a step; the next in {interval} steps",
      flush=True,
    )
