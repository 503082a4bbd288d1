r"""What the toy learns of three human tasks in minutes, from random weights.

Run:    sapiens2 experiment --config toy_tasks --output runs/toy_tasks
Needs:  two CPU cores, about two hours [estimate: runs were measured one by
        one]; 170 MB of downloads, once

Makes synthetic people, trains the toy on normals, parts and pose with the
configs of fine-tuning, three seeds each, and measures it on other people. Each
run gets its report, with curves and predictions beside the truth. The same
command continues what was stopped.
"""

import dataclasses
import math
import os
import pathlib
import statistics

from matplotlib.figure import Figure

from sapiens2_jax.config import load_module
from sapiens2_jax.report import curves, metrics
from sapiens2_jax.runtime import goodput
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint
from sapiens2_jax.training import writers

_HERE = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
_SIZE = "256x192"  # of the images
_PEOPLE = {"people": (12_000, 0), "test": (200, 2)}  # images, seed
_EVALUATIONS = 4  # while training


@dataclasses.dataclass(frozen=True)
class Metric:
  """What a task is measured by."""

  key: str  # in metrics.jsonl
  title: str  # of its column
  higher_is_better: bool


TASKS = {
  "normal": Metric("eval_mean", "normals: mean error, degrees", False),
  "segmentation": Metric(
    "eval_mIoU_present", "parts: mIoU of classes present, %", True
  ),
  "pose": Metric("eval_PCK", "pose: PCK@0.1 of the box, %", True),
}


@dataclasses.dataclass(frozen=True)
class Run:
  """What came out of one run."""

  rows: list[dict]  # of metrics.jsonl
  minutes: float  # from its start to its end, all of it


def workdir_of(output: str, task: str, seed: int) -> str:
  return os.path.join(output, f"{task}-seed-{seed}")


def people_phases(output: str) -> list[Phase]:
  """Images to learn from and to measure on."""
  return [
    synthetic_people(os.path.join(output, name), count, seed, _SIZE)
    for name, (count, seed) in _PEOPLE.items()
  ]


def train_phase(
  output: str, title: str, task: str, workdir: str, **values: object
) -> Phase:
  """The config of fine-tuning on these images; more `values` by field."""
  spec = f"task={task},size=toy"
  finetune = load_module(_HERE / "finetune.py")
  num_steps = finetune.get_config(spec).optim.num_steps
  people, test = (os.path.join(output, name) for name in _PEOPLE)
  values = {
    **{"data.path": people, "evaluation.path": test},
    "evaluation.every": math.ceil(num_steps / _EVALUATIONS),
    **values,
  }
  return Phase(
    title,
    train_arguments(f"finetune:{spec}", workdir, values),
    done=last_checkpoint(workdir, num_steps),
  )


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  phases = people_phases(output)
  for task in TASKS:
    for seed in SEEDS:
      workdir = workdir_of(output, task, seed)
      title = f"train: {task}, seed {seed}"
      train = train_phase(output, title, task, workdir, seed=seed)
      report = ("-m", "sapiens2_jax.report", "--checkpoint", workdir)
      page = os.path.join(workdir, "report", "index.html")
      phases += [
        train,
        Phase(f"report: {task}, seed {seed}", report, page, train.done),
      ]
  return phases


def read_run(workdir: str) -> Run:
  """What came out of a run."""
  seconds = goodput.load(workdir).seconds
  spent = sum(seconds.values()) - seconds["down"]
  return Run(writers.read_metrics(workdir), spent / 60)


def read_runs(output: str) -> dict[str, list[Run]]:
  """Of each task what its runs measured, in order of the seeds."""
  return {
    task: [read_run(workdir_of(output, task, seed)) for seed in SEEDS]
    for task in TASKS
  }


def format_table(runs: dict[str, list[Run]]) -> str:
  """The last number of each seed, their mean and half of their range."""
  names = ["task", *(f"seed {seed}" for seed in SEEDS), "mean", "minutes"]
  rows = []
  for task, metric in TASKS.items():
    values = [metrics.ends(run.rows, metric.key)[1] for run in runs[task]]
    mean, half = phases_lib.spread(values)
    cells = [f"{value:.1f}" for value in values]
    minutes = ", ".join(f"{run.minutes:.0f}" for run in runs[task])
    rows.append([metric.title, *cells, f"**{mean:.1f} ± {half:.1f}**", minutes])
  return "\n".join([*phases_lib.table(names, rows), ""])


def draw(runs: dict[str, list[Run]]) -> bytes:
  """Loss above metric, a column a task, a colour a seed; PNG."""
  figure = Figure(figsize=(3.6 * len(TASKS), 5), layout="constrained")
  axes = figure.subplots(2, len(TASKS))
  for (above, below), (task, metric) in zip(axes.T, TASKS.items()):
    for seed, run in zip(SEEDS, runs[task]):
      color = f"C{seed}"
      steps, losses = metrics.series(run.rows, "loss")
      above.plot(steps, _smooth(losses), color=color, linewidth=1)
      points = metrics.series(run.rows, metric.key)
      below.plot(*points, "o-", color=color, label=f"seed {seed}")
    above.set_title(f"{task}: training loss", fontsize=9)
    above.set_yscale("log")
    better = "higher" if metric.higher_is_better else "lower"
    below.set_title(f"{metric.title}\n({better} is better)", fontsize=9)
    below.set_xlabel("step", fontsize=8)
    below.legend(fontsize=7, frameon=False)
    for panel in (above, below):
      panel.tick_params(labelsize=8, which="both")
      panel.spines[["top", "right"]].set_visible(False)
  return curves.to_png(figure)


def _smooth(values: list[float], width: int = 20) -> list[float]:
  """The mean of each value and up to `width` - 1 before it."""
  starts = (max(0, i + 1 - width) for i in range(len(values)))
  return [
    statistics.fmean(values[start : i + 1]) for i, start in enumerate(starts)
  ]


def summarize(output: str) -> dict[str, bytes]:
  """Table and picture of what was measured: name of each file, content."""
  runs = read_runs(output)
  return {
    "toy_tasks.md": format_table(runs).encode(),
    "toy_tasks.png": draw(runs),
  }
