"""Which point of a sweep is best, and by what."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from sapiens2_jax import errors
from sapiens2_jax.evaluation.goals import require_goal
from sapiens2_jax.report import metrics
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point
from sapiens2_jax.training import writers
from sapiens2_jax.training.best import Goal

DEFAULT = "loss"
_SOURCES = {"probe_": "probes", "eval_": "evaluation"}  # groups of a config
WARNING = (
  "a loss can fall while features collapse: --metric ranks by what a probe or "
  "an evaluation measures"
)


class Place(NamedTuple):
  """Where a point stands; one that is not ranked has no number."""

  label: str  # of the point
  value: float | None  # of the metric, at the end
  why: str = ""  # it is not ranked
  number: int | None = None  # from 1


@dataclasses.dataclass(frozen=True)
class Ranking:
  """Places of all points, in the order of the points."""

  goal: Goal  # what they are ranked by
  places: Sequence[Place]
  known: Sequence[str]  # all that any point has measured

  @property
  def better(self) -> str:
    return "higher" if self.goal.sign > 0 else "lower"

  def ordered(self, others: Sequence) -> list[tuple[Place, object]]:
    """Places with what belongs to their points: the ranked first, the best."""
    pairs = list(zip(self.places, others, strict=True))
    return sorted(pairs, key=lambda pair: pair[0].number or len(pairs) + 1)

  def lines(self) -> list[str]:
    """A table, the best first; it says what it was ranked by."""
    name, width = self.goal.name, max(len(p.label) for p in self.places)
    lines = [
      f"ranked by {name} (mean of its last tenth), {self.better} is better"
    ]
    for place, _ in self.ordered(self.places):
      value = "-" if place.value is None else f"{place.value:.4g}"
      number = place.number or "-"
      line = f"{number:>3}  {place.label:<{width}}  {value}  {place.why}"
      lines.append(line.rstrip())
    if self.known and name not in self.known:
      hint = errors.nearest(name, self.known)
      lines.append(
        f"no point has measured {name}{hint}: {', '.join(self.known)}"
      )
    if name.startswith("loss"):
      lines.append(WARNING)
    return lines


def read_metric(text: str, points: Sequence[Point]) -> Goal:
  """What points are ranked by.

  Raises:
    ValueError: nothing says which is better, or no point will measure it.
  """
  task = points[0].config.get("task")
  try:
    goal = require_goal(text, task and task.name)
  except ValueError as error:
    raise ValueError(f"--metric={error}") from error
  for prefix, group in _SOURCES.items():
    if goal.name.startswith(prefix) and not any(
      group in point.config and point.config[group].path for point in points
    ):
      raise ValueError(
        f"--metric={goal.name}: no point measures it; give "
        f"--config.{group}.path=..."
      )
  return goal


def final_value(rows: list[dict], key: str) -> float | None:
  """Mean over the last tenth of the logged rows, one batch being noisy."""
  _, values = metrics.series(rows, key)
  last = values[-max(1, len(values) // 10) :]
  return sum(last) / len(last) if last else None


def rank(
  points: Sequence[Point],
  states: Sequence[str],
  labels: Sequence[str],
  goal: Goal,
) -> Ranking:
  """Ranks what has ended and was measured; the others have no number."""
  all_rows = [writers.read_metrics(point.workdir) for point in points]
  places = []
  for label, state, rows in zip(labels, states, all_rows):
    value, why = final_value(rows, goal.name), ""
    if state != status_lib.DONE:
      why = state  # What is on its way is not compared with what has ended.
    elif value is None:
      why = "not measured"
    elif not _is_known_at_the_end(rows, goal.name):
      value, why = None, "not finite at the end"
    places.append(Place(label, value, why))
  done = [i for i, place in enumerate(places) if not place.why]
  done.sort(key=lambda i: -goal.sign * places[i].value)
  for number, i in enumerate(done, 1):
    places[i] = places[i]._replace(number=number)
  known = metrics.find([row for rows in all_rows for row in rows])
  return Ranking(goal, places, known)


def _is_known_at_the_end(rows: list[dict], key: str) -> bool:
  """Whether the last tenth of the rows that name it have a finite value."""
  named = [row[key] for row in rows if key in row]
  last = named[-max(1, len(named) // 10) :]
  return any(value is not None and math.isfinite(value) for value in last)
