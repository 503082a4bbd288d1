"""Whether a task model has learned, in a sentence, from what was measured.

Each photograph is also scored with what the network put out for the one
before it. A network that looks at its input is better with its own.
"""

import math
from typing import Any

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.page import Verdict
from sapiens2_jax.tasks.base import Inputs, Outputs, Score, Task

_MIN_COMPARED = 5  # photographs: of fewer, chance alone could be all  # ours


class WithOther:
  """A task whose predictions are pairs: the own one, and another's.

  The second is what the network put out for the image before, brought to this
  one; None if that had fewer inputs.
  """

  def __init__(self, task: Task):
    self._task = task
    self._before: Outputs = []

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def postprocess(self, outputs: Outputs, inputs: Inputs) -> tuple[Any, Any]:
    before, self._before = self._before[: len(inputs)], outputs
    has_other = before and len(before) == len(inputs)
    other = self._task.postprocess(before, inputs) if has_other else None
    return self._task.postprocess(outputs, inputs), other


class Comparison:
  """Counts photographs that are better with their own prediction."""

  def __init__(self, task: Task, score: Score):
    self._task, self._score = task, score
    self._metric = task.metric()  # of others' predictions
    self.num_better = self.num_compared = 0

  def add(self, own: Any, other: Any, labels: Labels) -> None:
    """Takes in a photograph; `other` may be None."""
    if other is None:
      return
    values = []
    for prediction in (own, other):
      metric = self._task.metric()
      metric.add(prediction, labels)
      values.append(metric.result()[self._score.key])
    if any(map(math.isnan, values)):
      return
    self._metric.add(other, labels)
    sign = 1 if self._score.higher_is_better else -1
    self.num_compared += 1
    self.num_better += sign * values[0] > sign * values[1]

  def judge(self, value: float, count: int) -> Verdict:
    """What can be said of a model that scores `value` on all photographs."""
    score = self._score
    measured = (
      f"{score.title}: {show(value * score.factor, '{:.4g}')} on {count} "
      "photographs"
    )
    if self.num_compared < _MIN_COMPARED:
      return Verdict(
        f"Too few photographs to tell whether it has learned. {measured}."
      )
    other = self._metric.result()[score.key] * score.factor
    measured += f", {show(other, '{:.4g}')} if each gets another one's."
    how = f"{self.num_better} of {self.num_compared} photographs"
    # Two standard deviations of as many throws of a coin above the half.
    limit = self.num_compared / 2 + math.sqrt(self.num_compared)
    if self.num_better > limit:
      return Verdict(
        f"It has learned: {how} fit their own prediction better than that for "
        f"another photograph. {measured}",
        True,
      )
    return Verdict(
      "It has not learned: predictions hardly depend on the photograph, only "
      f"{how} fit their own better than that for another. {measured}",
      False,
    )
