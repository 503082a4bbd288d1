r"""Is the joint objective better than its parts? The paper's claim, tiny.

Run:    sapiens2 experiment --config replication --output runs/replication
Needs:  two CPU cores; 220 MB of downloads, once

Makes synthetic people, pretrains the toy with reconstruction only, with
self-distillation only and with both, on them and on the sample photographs,
probes all with frozen features, and compares the directions with table 2 of
the paper (arXiv 2604.21681). Two more of the joint runs are not in the paper:
with patch-level distillation, and on a pool that nobody curated, where three
of four images show no person. Four seeds each. The same command continues a
replication that was stopped.

Only the weights of the losses, or the images, differ: self-distillation sees
masked global views too, unlike DINO. All other choices are ours.
"""

import dataclasses
import itertools
import json
import os
import statistics
from collections.abc import Collection

from matplotlib.figure import Figure

from data_pipelines.common.files import read_json
from sapiens2_jax.report import curves
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint
from sapiens2_jax.tasks import registry

BASE = "pretrain:size=toy"
SEEDS = (0, 1, 2, 3)
_NUM_STEPS = 240  # of each pretraining
_PROBE_STEPS = 150  # of each decoder
# Images of synthetic people: for pretraining, and for training and measuring
# probes. Of the pool, three of four show nobody.
_PEOPLE = {"people": 3000, "train": 1000, "test": 200, "pool": 3000}
_EMPTY = 0.75
_SIZE = "256x192"  # of these images; the toy's views are 128 x 96
_WEIGHTS = (15, 1)  # of people and photographs in the batches
# Short: at 0.992 the first weights would be a part of what is probed.
_SHARED = {"objective.teacher_momentum": 0.98}

RANDOM, RECONSTRUCTION = "random weights", "reconstruction only"
DISTILLATION, JOINT = "self-distillation only", "joint"
PATCHES, POOL = "joint and patch-level term", "joint, not curated"
VARIANTS: dict[str, dict[str, object]] = {
  RANDOM: {"optim.num_steps": 1, "optim.warmup_steps": 0, "optim.peak_lr": 0.0},
  RECONSTRUCTION: {"objective.w_cl": 0.0, "objective.w_koleo": 0.0},
  DISTILLATION: {"objective.w_mae": 0.0},
  JOINT: {},
  # Weighted as [cls] is.
  PATCHES: {"objective.w_ibot": 0.4, "objective.ibot_tokens": "masked"},
  POOL: {},  # On other images.
}
PAPER_ROWS = {
  RECONSTRUCTION: "Sapiens-1B",
  DISTILLATION: "DINOv3-H 0.88B",
  JOINT: "Sapiens2-1B",
}


@dataclasses.dataclass(frozen=True)
class Column:
  """A number of the table."""

  task: str  # in results.json
  key: str  # there, of the task
  factor: float  # it is shown times this
  higher_is_better: bool
  paper: tuple[float, ...] = ()  # of the variants in PAPER_ROWS, if there


def _in_paper(task: str, *paper: float) -> dict[str, Column]:
  """A column that the paper has too, under the title that probes give it."""
  score = registry.definition(task).score
  column = Column(task, score.key, score.factor, score.higher_is_better, paper)
  return {score.title: column}


COLUMNS = {
  **_in_paper("pose", 58.2, 67.6, 68.3),
  "pose PCK@0.1": Column("pose", "PCK", 1, True),
  **_in_paper("segmentation", 61.4, 65.4, 65.2),
  **_in_paper("pointmap", 0.532, 0.448, 0.428),
  **_in_paper("normal", 15.3, 15.2, 14.5),
  **_in_paper("albedo", 3.85, 3.86, 3.64),
  "retrieval MRR": Column("retrieval", "mrr", 1, True),
}
# Where both objectives should pay: joint against ..., on ...
CLAIMS = (
  (RECONSTRUCTION, "pose mAP"),
  (RECONSTRUCTION, "seg mIoU"),
  (DISTILLATION, "normal MAE deg"),
  (DISTILLATION, "albedo MAE x 1e-2"),
)

_LEARNED = 5.0  # deviations from random weights
# Of a variant: a column's numbers, one a seed.
Measured = dict[str, dict[str, list[float]]]


def get_values(variant: str, seed: int) -> dict[str, object]:
  """Overrides of one run, but for its images."""
  steps = {"optim.num_steps": _NUM_STEPS}
  return {"seed": seed, **steps, **_SHARED, **VARIANTS[variant]}


def make_phases(
  output: str, variants: Collection[str] = tuple(VARIANTS)
) -> list[Phase]:
  """Everything up to the table, in order; of some variants only."""
  paths = {name: os.path.join(output, name) for name in _PEOPLE}
  phases = [
    synthetic_people(
      *(paths[name], count, seed, _SIZE),
      empty=_EMPTY if name == "pool" else 0.0,
    )
    for seed, (name, count) in enumerate(_PEOPLE.items())
    if name != "pool" or POOL in variants
  ]
  photographs = os.path.join(output, "photographs")
  sample = ("-m", "data_pipelines.sample_corpus", "--output", photographs)
  phases.append(Phase("sample photographs", sample))
  for seed, variant in itertools.product(SEEDS, variants):
    name = f"{variant}, seed {seed}"
    workdir = workdir_of(output, variant, seed)
    images = paths["pool" if variant == POOL else "people"]
    spec = zip((images, photographs), _WEIGHTS)
    values = {
      **get_values(variant, seed),
      "data.path": ";".join(f"{path},{weight}" for path, weight in spec),
      "checkpoint.compile_cache": os.path.join(output, "compiled"),
    }
    last = last_checkpoint(workdir, values["optim.num_steps"])
    train = train_arguments(BASE, workdir, values)
    done = results_path(output, variant, seed)
    probe = (
      *("-m", "sapiens2_jax.probe"),
      *("--config", "probe:task=all,size=toy"),
      *("--checkpoint", workdir, "--output", os.path.dirname(done)),
      f"--config.data.train={paths['train']}",
      f"--config.data.test={paths['test']}",
      f"--config.optim.num_steps={_PROBE_STEPS}",
    )
    phases += [
      Phase(f"pretrain: {name}", train, last),
      Phase(f"probe: {name}", probe, done, last),
    ]
  return phases


def workdir_of(output: str, variant: str, seed: int) -> str:
  """Of a pretraining run."""
  return os.path.join(output, "pretrain", _folder(variant, seed))


def results_path(output: str, variant: str, seed: int) -> str:
  """What probes of a run measured."""
  folder = os.path.join(output, "probes", _folder(variant, seed))
  return os.path.join(folder, "results.json")


def _folder(variant: str, seed: int) -> str:
  return f"{variant}, seed {seed}".replace(", ", "-").replace(" ", "-")


def read_results(output: str) -> Measured:
  """What the probes measured."""
  measured: Measured = {}
  for variant in VARIANTS:
    measured[variant] = {title: [] for title in COLUMNS}
    for seed in SEEDS:
      results = read_json(results_path(output, variant, seed))["results"]
      for title, column in COLUMNS.items():
        value = results[column.task][column.key] * column.factor
        measured[variant][title].append(value)
  return measured


def spreads_learned(values: list[float], random: list[float]) -> float:
  """How far a mean has left that of random weights, in standard deviations.

  Args:
    values: of a variant, one a seed.
    random: of random weights.

  Returns:
    The distance of the means by the larger deviation over the seeds; 0 if
    they are equal, inf if no seed differs from another.
  """
  distance = abs(statistics.fmean(values) - statistics.fmean(random))
  deviation = max(statistics.stdev(values), statistics.stdev(random))
  if not distance:
    return 0.0
  return distance / deviation if deviation else float("inf")


def format_table(measured: Measured) -> list[str]:
  """Our rows, mean and standard deviation over seeds, and the paper's."""
  rows = []
  for variant, row in measured.items():
    cells = map(phases_lib.mean_std, row.values())
    rows.append([f"toy, {variant}", *cells])
  for i, (variant, name) in enumerate(PAPER_ROWS.items()):
    papers = [column.paper for column in COLUMNS.values()]
    cells = [f"{paper[i]:g}" if paper else "-" for paper in papers]
    rows.append([f"paper: {name}, {variant}", *cells])
  return phases_lib.table(["backbone", *COLUMNS], rows)


def format_learned(measured: Measured) -> list[str]:
  """How far each variant has left random weights; `*`: for the better."""
  rows = []
  for variant in list(measured)[1:]:
    cells = []
    for title, column in COLUMNS.items():
      values, random = measured[variant][title], measured[RANDOM][title]
      found = phases_lib.compare(values, random, column.higher_is_better)
      mark = "*" if found == "better" else ""
      cells.append(f"{spreads_learned(values, random):.1f}{mark}")
    rows.append([variant, *cells])
  header = ["deviations from random weights", *COLUMNS]
  return phases_lib.table(header, rows)


def format_directions(measured: Measured) -> list[str]:
  """For each comparison in the paper's table, whether ours goes its way.

  What neither side has learned is undecided: its mean is within five
  deviations of that of random weights.
  """
  rows, known = [], {t: c for t, c in COLUMNS.items() if c.paper}
  for other in (RECONSTRUCTION, DISTILLATION):
    for title, column in known.items():
      paper = dict(zip(PAPER_ROWS, column.paper))
      higher = column.higher_is_better
      told = phases_lib.compare([paper[JOINT]], [paper[other]], higher)
      ours, theirs = measured[JOINT][title], measured[other][title]
      random = measured[RANDOM][title]
      learned = max(spreads_learned(x, random) for x in (ours, theirs))
      found = phases_lib.compare(ours, theirs, higher)
      if learned < _LEARNED:
        found, verdict = "not learned", "undecided"
      else:
        verdicts = {told: "agrees", "undecided": "undecided"}
        verdict = verdicts.get(found, "DISAGREES")
      claimed = " (the claim)" if (other, title) in CLAIMS else ""
      rows.append([other, title + claimed, told, found, verdict])
  return phases_lib.table(["joint against", "on", "paper", "here", ""], rows)


def format_own(measured: Measured) -> list[str]:
  """What is not in the paper's table, against the joint run."""
  rows = []
  for variant in (PATCHES, POOL):
    cells = [
      phases_lib.compare(
        measured[variant][title],
        measured[JOINT][title],
        column.higher_is_better,
      )
      for title, column in COLUMNS.items()
    ]
    rows.append([variant, *cells])
  return phases_lib.table([f"against {JOINT}", *COLUMNS], rows)


def draw(measured: Measured) -> bytes:
  """A panel a column, a dot a seed; PNG."""
  size = (2.2 * len(COLUMNS), 3.2)
  figure = Figure(figsize=size, layout="constrained")
  panels = figure.subplots(1, len(COLUMNS))
  for axes, (title, column) in zip(panels, COLUMNS.items()):
    for x, row in enumerate(measured.values()):
      values = row[title]
      axes.plot([x] * len(values), values, "o", color=f"C{x}")
    axes.set_xticks(range(len(measured)), measured, rotation=60, ha="right")
    axes.set_xlim(-0.5, len(measured) - 0.5)
    better = "higher" if column.higher_is_better else "lower"
    axes.set_title(f"{title}\n({better} is better)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
  return curves.to_png(figure)


def summarize(output: str) -> dict[str, bytes]:
  """Tables and picture of what was measured: name of each file, content."""
  measured = read_results(output)
  tables = (format_table, format_learned, format_directions, format_own)
  lines = [line for make in tables for line in (*make(measured), "")]
  return {
    "replication.md": "\n".join(lines).encode(),
    "replication.json": json.dumps(measured, indent=2).encode(),
    "replication.png": draw(measured),
  }
