r"""Is the joint objective better than its parts? The paper's claim, tiny.

Run:    sapiens2 experiment --config replication --output runs/replication
Needs:  two CPU cores, one and a half to two hours [estimate from its parts:
        measured beside other work only]; 220 MB of downloads, once

Makes synthetic people, pretrains the toy with reconstruction only, with
self-distillation only and with both, on them and on the sample photographs,
two seeds each, probes all with frozen features, and compares the directions
with table 2 of the paper (arXiv 2604.21681). The same command continues a
replication that was stopped.

Only the weights of the losses differ: self-distillation sees masked global
views too, unlike DINO. All other choices are ours.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator

from matplotlib.figure import Figure

from data_pipelines.common.files import read_json
from sapiens2_jax.report import curves
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import point_name
from sapiens2_jax.sweep.status import last_checkpoint
from sapiens2_jax.tasks import registry

BASE = "pretrain:size=toy"
_SEEDS = (0, 1)
_NUM_STEPS = 1000  # of each pretraining
# Images of synthetic people: for pretraining, and for training and measuring
# probes.
_PEOPLE = {"people": 3000, "train": 1000, "test": 200}
_SIZE = "256x192"  # of these images; the toy's views are 128 x 96
_WEIGHTS = (15, 1)  # of people and photographs in the batches

RANDOM, RECONSTRUCTION = "random weights", "reconstruction only"
DISTILLATION, JOINT = "self-distillation only", "joint"
VARIANTS: dict[str, dict[str, object]] = {
  RANDOM: {"optim.num_steps": 1, "optim.warmup_steps": 0, "optim.peak_lr": 0.0},
  RECONSTRUCTION: {"objective.w_cl": 0.0, "objective.w_koleo": 0.0},
  DISTILLATION: {"objective.w_mae": 0.0},
  JOINT: {},
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

# Of a variant: a column's numbers, one a seed.
Measured = dict[str, dict[str, list[float]]]


def get_values(variant: str, seed: int) -> dict[str, object]:
  """Overrides of one run."""
  return {"seed": seed, "optim.num_steps": _NUM_STEPS, **VARIANTS[variant]}


def get_sweep() -> Iterator[dict[str, object]]:
  """All runs; what has the same seed starts from the same weights."""
  for seed, variant in itertools.product(_SEEDS, VARIANTS):
    yield get_values(variant, seed)


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  paths = {name: os.path.join(output, name) for name in _PEOPLE}
  phases = [
    synthetic_people(paths[name], count, seed, _SIZE)
    for seed, (name, count) in enumerate(_PEOPLE.items())
  ]
  photographs = os.path.join(output, "photographs")
  sample = ("-m", "data_pipelines.sample_corpus", "--output", photographs)
  spec = zip((paths["people"], photographs), _WEIGHTS)
  data = ";".join(f"{path},{weight}" for path, weight in spec)
  pretrain = (
    *("-m", "sapiens2_jax.sweep", "--config", "replication"),
    *("--output", runs_folder(output), f"--config.data.path={data}"),
  )
  title = f"pretrain: {', '.join(VARIANTS)}; {len(_SEEDS)} seeds each"
  phases += [Phase("sample photographs", sample), Phase(title, pretrain)]
  for seed, variant in itertools.product(_SEEDS, VARIANTS):
    values = get_values(variant, seed)
    workdir = os.path.join(runs_folder(output), point_name(values))
    done = results_path(output, variant, seed)
    probe = (
      *("-m", "sapiens2_jax.probe"),
      *("--config", "probe:task=all,size=toy"),
      *("--checkpoint", workdir, "--output", os.path.dirname(done)),
      f"--config.data.train={paths['train']}",
      f"--config.data.test={paths['test']}",
    )
    last = last_checkpoint(workdir, values["optim.num_steps"])
    phases.append(Phase(f"probe: {variant}, seed {seed}", probe, done, last))
  return phases


def runs_folder(output: str) -> str:
  return os.path.join(output, "pretrain")


def results_path(output: str, variant: str, seed: int) -> str:
  name = f"{variant}, seed {seed}".replace(", ", "-").replace(" ", "-")
  return os.path.join(output, "probes", name, "results.json")


def read_results(output: str) -> Measured:
  """What the probes measured."""
  measured: Measured = {}
  for variant in VARIANTS:
    measured[variant] = {title: [] for title in COLUMNS}
    for seed in _SEEDS:
      results = read_json(results_path(output, variant, seed))["results"]
      for title, column in COLUMNS.items():
        value = results[column.task][column.key] * column.factor
        measured[variant][title].append(value)
  return measured


def format_table(measured: Measured) -> list[str]:
  """Our rows, mean and half of the range over seeds, and the paper's."""
  rows = []
  for variant, row in measured.items():
    spreads = map(phases_lib.spread, row.values())
    cells = [f"{mean:.3g} ± {half:.2g}" for mean, half in spreads]
    rows.append([f"toy, {variant}", *cells])
  for i, (variant, name) in enumerate(PAPER_ROWS.items()):
    papers = [column.paper for column in COLUMNS.values()]
    cells = [f"{paper[i]:g}" if paper else "-" for paper in papers]
    rows.append([f"paper: {name}, {variant}", *cells])
  return phases_lib.table(["backbone", *COLUMNS], rows)


def format_directions(measured: Measured) -> list[str]:
  """For each comparison in the paper's table, whether ours goes its way."""
  rows, known = [], {t: c for t, c in COLUMNS.items() if c.paper}
  for other in (RECONSTRUCTION, DISTILLATION):
    for title, column in known.items():
      paper = dict(zip(PAPER_ROWS, column.paper))
      higher = column.higher_is_better
      told = phases_lib.compare([paper[JOINT]], [paper[other]], higher)
      found = phases_lib.compare(
        measured[JOINT][title], measured[other][title], higher
      )
      verdicts = {told: "agrees", "undecided": "seeds overlap"}
      verdict = verdicts.get(found, "DISAGREES")
      claimed = " (the claim)" if (other, title) in CLAIMS else ""
      rows.append([other, title + claimed, told, found, verdict])
  return phases_lib.table(["joint against", "on", "paper", "here", ""], rows)


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
  lines = [*format_table(measured), "", *format_directions(measured), ""]
  return {
    "replication.md": "\n".join(lines).encode(),
    "replication.json": json.dumps(measured, indent=2).encode(),
    "replication.png": draw(measured),
  }
