"""The best checkpoint by a measured number, which is never removed."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_pipelines.common import storage
from sapiens2_jax.runtime import gathering
from sapiens2_jax.training import verification

_SIGNS = {"max": 1, "min": -1}


class NotMeasuredError(ValueError):
  """`checkpoint.keep_best` names a number that there is not."""


class Goal(NamedTuple):
  """What `checkpoint.keep_best` says.

  Attributes:
    name: of a number in metrics.jsonl.
    sign: 1 if the largest is best, -1 if the smallest.
  """

  name: str
  sign: int


def read_goal(text: str) -> Goal | None:
  """Reads "eval_mIoU max"; None of nothing.

  Raises:
    ValueError: it is something else.
  """
  if not text:
    return None
  name, _, mode = text.partition(" ")
  if mode not in _SIGNS:
    raise ValueError('must be a measured number and max or min: "eval_mad min"')
  return Goal(name, _SIGNS[mode])


class KeepBest:
  """A preservation policy of Orbax: the checkpoint that measured best.

  Attributes:
    step: of the best one; None before there is any.
    value: its number.
  """

  def __init__(self, goal: Goal | None, root: str | os.PathLike):
    """Reads what the checkpoints below `root` have measured.

    All processes must call this; what process 0 reads counts.
    """
    self._goal, self.step, self.value = goal, None, math.nan
    if goal is None:
      return
    root = storage.to_path(root)
    for step in verification.list_steps(root):
      try:
        run = verification.read_run(root / str(step))
      except (OSError, ValueError) as error:
        verification.say(f"checkpoint {step} cannot be the best: {error}")
      else:
        self.take(step, run.get("measured") or {})
    # By it all decide whether to save, and that all must do or none: another
    # may have failed to read a file.
    self.step, self.value = gathering.gather((self.step, self.value))[0]

  def is_better(self, measured: Mapping[str, float]) -> bool:
    """Whether this beats the best so far; ties and NaN do not.

    Raises:
      NotMeasuredError: it is of no such number.
    """
    if self._goal is None or not measured:
      return False
    name, sign = self._goal
    if name not in measured:
      raise NotMeasuredError(
        f"checkpoint.keep_best: {name} is not measured, only "
        f"{', '.join(measured)}."
      )
    value = measured[name]
    if value is None or math.isnan(value):
      return False
    return self.step is None or sign * value > sign * self.value

  def take(self, step: int, measured: Mapping[str, float]) -> None:
    """Takes in what was measured of the checkpoint of a step."""
    if self._goal and self._goal.name in measured and self.is_better(measured):
      self.step, self.value = step, measured[self._goal.name]

  def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
    return [info.step == self.step for info in checkpoints]
