"""Several runs side by side: curves, numbers, what tells their configs apart.

A run is what its workdir holds so far; it need not have a checkpoint.
"""

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from data_pipelines.common import storage
from sapiens2_jax import fields
from sapiens2_jax.report import colors, curves, metrics
from sapiens2_jax.report.facts import UNKNOWN, show
from sapiens2_jax.report.page import Figure, Section, Table, Verdict, render
from sapiens2_jax.training import writers
from sapiens2_jax.training.best import Goal
from sapiens2_jax.training.checkpoints import ReadConfig

_NUM_HIGHLIGHTS = 3
_MAX_ROWS = 20  # of differences; more are folded
# What says which run is better, and the fields of its images.
_MEASURED = {"eval_": "evaluation", "probe_": "probes"}

# The better side of a number, of a run's task; None: nothing says it.
FindGoal = Callable[[str, str | None], Goal | None]


@dataclasses.dataclass(frozen=True)
class Run:
  """A run as its workdir shows it."""

  letter: str  # that stands for it on the page
  workdir: str
  config: ConfigDict
  metrics: list[dict]
  speed: list[dict]

  @property
  def task(self) -> str | None:
    task = self.config.get("task")
    return task.name if task else None

  @property
  def kind(self) -> str:
    return f"fine-tuning on {self.task}" if self.task else "pretraining"

  @property
  def num_steps(self) -> int:
    """That have been logged."""
    return self.metrics[-1]["step"] + 1 if self.metrics else 0

  def last(self, key: str) -> float | None:
    """The last value; None if it was not measured or is not finite."""
    named = [row[key] for row in self.metrics if key in row]
    value = named[-1] if named else None
    return value if value is not None and math.isfinite(value) else None

  def describe_last(self, key: str, form: str) -> str:
    if not any(key in row for row in self.metrics):
      return "not measured"
    value = self.last(key)
    return "not finite" if value is None else form.format(value)


def read_runs(workdirs: Sequence[str], read_config: ReadConfig) -> list[Run]:
  """Reads what each workdir holds; they may be in buckets.

  Raises:
    ValueError: one holds no run, is given twice, or all are one.
  """
  places = [storage.normal(workdir) for workdir in workdirs]
  if len(set(places)) < len(places):
    twice = next(place for place in places if places.count(place) > 1)
    raise ValueError(f"{twice}: is given twice; give each run once.")
  if len(places) < 2:
    raise ValueError(f"{len(places)} run to compare; give at least two.")
  return [
    _read_run(letter_of(number), place, read_config)
    for number, place in enumerate(places)
  ]


def _read_run(letter: str, place: str, read_config: ReadConfig) -> Run:
  if not storage.is_directory(place):
    raise ValueError(f"{place}: no such directory; give a training workdir.")
  path = storage.join(place, writers.CONFIG_FILE)
  if not storage.exists(path):
    raise ValueError(
      f"{place}: no {writers.CONFIG_FILE}; give a training workdir."
    )
  try:
    config = read_config(storage.read_bytes(path).decode(), path)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: is no JSON file ({error}).") from error
  read = writers.read_metrics(place), writers.read_speed(place)
  return Run(letter, place, config, *read)


def letter_of(number: int) -> str:
  """A, B, ... Z, AA, AB, ..."""
  high, low = divmod(number, 26)
  return (letter_of(high - 1) if high else "") + chr(ord("A") + low)


def make_page(
  runs: Sequence[Run],
  find_goal: FindGoal,
  verdict: Verdict | None = None,
  more: Sequence[Section] = (),
) -> str:
  """The whole document.

  Args:
    runs: in the order of the page.
    find_goal: says which side of a number is better.
    verdict: leads it; None: that of probes and evaluations.
    more: sections below the verdict.
  """
  goals = _find_goals(runs, find_goal)
  notes = metrics.SPEED_NOTES
  drawn = {
    group: [_draw(runs, key, group.title(key), notes) for key in keys]
    for group, keys in metrics.group([r for run in runs for r in run.metrics])
  }
  best = {key: _best(runs, goal) for key, goal in goals.items()}
  sections = [
    _lead(runs, verdict or judge(runs, best), drawn),
    *more,
    _numbers(runs, goals, best),
    _differences(runs),
  ]
  sections += [
    Section(
      group.name,
      group.heading,
      is_folded=group.is_folded,
      text=[group.text],
      legend=_legend(runs),
      figures=figures,
    )
    for group, figures in drawn.items()
  ]
  sections.append(_facts(runs))
  names = ", ".join(run.workdir for run in runs)
  return render(f"Comparison of {len(runs)} runs", names, sections)


def _find_goals(runs: Sequence[Run], find_goal: FindGoal) -> dict[str, Goal]:
  """Numbers of which all runs that have them say the same better side."""
  found = {}
  for key in metrics.find([row for run in runs for row in run.metrics]):
    goals = {
      find_goal(key, run.task)
      for run in runs
      if any(key in row for row in run.metrics)
    }
    if len(goals) == 1 and None not in goals:
      (found[key],) = goals
  return found


def _best(runs: Sequence[Run], goal: Goal) -> list[Run]:
  """Those with the best last value; none if there is nothing to compare."""
  known = [run for run in runs if run.last(goal.name) is not None]
  # A loss of one kind is no loss of another, nor are other images the same.
  what = {(run.kind, _images_of(run, goal.name)) for run in known}
  if len(known) < 2 or len(what) > 1:
    return []
  top = max(goal.sign * run.last(goal.name) for run in known)
  return [run for run in known if goal.sign * run.last(goal.name) == top]


def _images_of(run: Run, key: str) -> tuple[str, int] | None:
  """Path and number of the images that a metric is of; None: of training."""
  for prefix, group in _MEASURED.items():
    if key.startswith(prefix) and group in run.config:
      return run.config[group].path, run.config[group].num_images
  return None


def _draw(runs, key: str, title: str, notes) -> Figure:
  note, found, said = notes.get(key, metrics.Note()), [], []
  for number, run in enumerate(runs):
    color = colors.MANY[number % len(colors.MANY)]
    values = metrics.series(run.metrics + run.speed, key)
    curve = curves.Curve(*values, run.letter, color)
    found.append(curve)
    said.append(f"{run.letter} {curves.describe(curve, note)}")
  missing = [curve.name for curve in found if not curve.values]
  caption = f"Not measured in {', '.join(missing)}." if missing else ""
  alt = f"Curves of {key}: {'; '.join(said)}"
  return Figure(
    curves.draw_metric(found, note), alt, caption, title, is_small=True
  )


def _legend(runs: Sequence[Run]) -> list[tuple[str, tuple[int, ...]]]:
  of_runs = itertools.cycle(map(colors.to_rgb, colors.MANY))
  return [(f"{run.letter}  {run.workdir}", c) for run, c in zip(runs, of_runs)]


def _lead(runs, verdict: Verdict, drawn: dict) -> Section:
  figures = [
    figure
    for name in ("evaluation", "probes", "losses")
    for group, found in drawn.items()
    if group.name == name
    for figure in found
  ]
  return Section(
    "verdict",
    "In short",
    verdict=verdict,
    warnings=list(_warnings(runs)),
    legend=_legend(runs),
    # Of all runs first; what others lack is said in the caption.
    figures=sorted(figures, key=lambda f: bool(f.caption))[:_NUM_HIGHLIGHTS],
  )


def judge(runs: Sequence[Run], best: dict[str, list[Run]]) -> Verdict:
  """Which run is ahead, of what probes and evaluations measured."""
  won = {
    key: on for key, on in best.items() if key.startswith(tuple(_MEASURED))
  }
  won = {key: [run.letter for run in on] for key, on in won.items() if on}
  if not won:
    return Verdict(
      "Nothing says which run is better: no probe and no evaluation measured "
      "two of them on the same images, and losses of different runs need not "
      "measure the same."
    )
  counts = {
    run.letter: sum(on == [run.letter] for on in won.values()) for run in runs
  }
  ordered = sorted(runs, key=lambda run: -counts[run.letter])
  first, *others = ordered
  text = (
    f"Of {len(won)} numbers of probes and evaluations, {first.letter} "
    f"({first.workdir}) is best in {counts[first.letter]}"
  )
  text += "".join(f", {run.letter} in {counts[run.letter]}" for run in others)
  num_ties = len(won) - sum(counts.values())
  text += f"; {num_ties} tied" if num_ties else ""
  return Verdict(
    f"{text}. Runs that differ in nothing but their seed show how much of this "
    "is chance."
  )


def _warnings(runs: Sequence[Run]):
  kinds = {run.letter: run.kind for run in runs}
  if len(set(kinds.values())) > 1:
    listed = "; ".join(f"{name} {kind}" for name, kind in kinds.items())
    yield f"The runs are of different kinds, few numbers are of both: {listed}."
  if len({run.num_steps for run in runs}) > 1:
    yield (
      "The runs stand at different steps, and the numbers are the last of "
      "each: look at the curves."
    )
  for prefix, group in _MEASURED.items():
    places = {
      _images_of(run, prefix)
      for run in runs
      if any(key.startswith(prefix) for row in run.metrics for key in row)
    }
    if len(places) > 1:
      yield (
        f"{group}.path or {group}.num_images differ: of numbers of different "
        "images none is marked as the best."
      )


def _numbers(runs, goals: dict[str, Goal], best) -> Section:
  header = ["", *(run.letter for run in runs)]
  tables = []
  for title, measured in (("Probes and evaluations", True), ("Losses", False)):
    rows = []
    for key, goal in goals.items():
      if key.startswith(tuple(_MEASURED)) == measured:
        better = "higher" if goal.sign > 0 else "lower"
        cells = [
          run.describe_last(key, "{:.4g}")
          + (" ✓ best" if run in best[key] else "")
          for run in runs
        ]
        rows.append([f"{key} ({better} is better)", *cells])
    if rows:
      tables.append(Table(rows, header, title))
  text = [
    "The last value of each; the best is marked if several runs of one kind "
    "have it."
  ]
  return Section("numbers", "Numbers", text=text, tables=tables)


def _differences(runs: Sequence[Run]) -> Section:
  values = [dict(fields.leaves(run.config)) for run in runs]
  names = sorted(set().union(*values))
  rows = [
    [name, *(fields.show(of_run, name) for of_run in values)]
    for name in names
    if len({fields.show(of_run, name) for of_run in values}) > 1
  ]
  title = "Differences of configurations"
  if not rows:
    return Section("differences", title, text=["There are none."])
  header = ["field", *(run.letter for run in runs)]
  is_folded = len(rows) > _MAX_ROWS
  tables = [Table(rows, header)]
  return Section("differences", title, is_folded=is_folded, tables=tables)


def _facts(runs: Sequence[Run]) -> Section:
  rows = []
  for run in runs:
    # The first row after a start holds compiling.
    rates = [row["images_per_second"] for row in run.speed[1:] or run.speed]
    rates = [rate for rate in rates if rate is not None]
    speed = statistics.median(rates) if rates else None
    rows.append(
      [
        run.letter,
        run.workdir,
        run.kind,
        run.config.model.size,
        f"{run.num_steps:,} of {run.config.optim.num_steps:,}",
        run.config.data.path or UNKNOWN,
        show(speed, "{:.1f}"),
      ]
    )
  header = ("", "workdir", "kind", "size", "steps", "data", "images/s")
  return Section("runs", "The runs", tables=[Table(rows, header)])
