r"""Is the joint objective better than its parts? The paper's claim, tiny.

Run:    python experiments/replication.py --output runs/replication
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
import json
import os
import statistics
from collections.abc import Iterator

from matplotlib import pyplot as plt

from sapiens2_jax.report import curves
from sapiens2_jax.sweep.phases import (
  Phase,
  run_experiment,
  synthetic_people,
)
from sapiens2_jax.sweep.points import point_name
from sapiens2_jax.sweep.status import last_checkpoint
from sapiens2_jax.tasks import registry

BASE = "experiments/pretrain.py:size=toy"
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
  """A number of the table.

  Attributes:
    task, key: where it is in results.json.
    factor: it is shown times this.
    higher_is_better: or lower.
    paper: of the variants in PAPER_ROWS; empty: not in the paper.
  """

  task: str
  key: str
  factor: float
  higher_is_better: bool
  paper: tuple[float, ...] = ()


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
  for seed in _SEEDS:
    for variant in VARIANTS:
      yield get_values(variant, seed)


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  places = {name: os.path.join(output, name) for name in _PEOPLE}
  phases = [
    synthetic_people(places[name], count, seed, _SIZE)
    for seed, (name, count) in enumerate(_PEOPLE.items())
  ]
  photographs = os.path.join(output, "photographs")
  phases.append(
    Phase(
      "sample photographs",
      ("-m", "data_pipelines.sample_corpus", "--output", photographs),
    )
  )
  mixture = zip((places["people"], photographs), _WEIGHTS)
  path = ";".join(f"{place},{weight}" for place, weight in mixture)
  phases.append(
    Phase(
      f"pretrain: {', '.join(VARIANTS)}; {len(_SEEDS)} seeds each",
      (
        *("launch/sweep.py", "--config", "experiments/replication.py"),
        *("--output", runs_place(output), f"--config.data.path={path}"),
      ),
    )
  )
  for seed in _SEEDS:
    for variant in VARIANTS:
      values = get_values(variant, seed)
      workdir = os.path.join(runs_place(output), point_name(values))
      done = results_path(output, variant, seed)
      phases.append(
        Phase(
          f"probe: {variant}, seed {seed}",
          (
            *("-m", "sapiens2_jax.evaluate"),
            *("--config", "experiments/probe.py:task=all,size=toy"),
            *("--checkpoint", workdir),
            *("--output", os.path.dirname(done)),
            f"--config.data.train={places['train']}",
            f"--config.data.test={places['test']}",
          ),
          done,
          last_checkpoint(workdir, values["optim.num_steps"]),
        )
      )
  return phases


def runs_place(output: str) -> str:
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
      with open(results_path(output, variant, seed)) as file:
        results = json.load(file)["results"]
      for title, column in COLUMNS.items():
        value = results[column.task][column.key] * column.factor
        measured[variant][title].append(value)
  return measured


def compare(ours: list[float], others: list[float], column: Column) -> str:
  """Which is better: "better", "worse", or "undecided" if seeds overlap."""
  sign = 1 if column.higher_is_better else -1
  ours, others = ([sign * value for value in side] for side in (ours, others))
  if min(ours) > max(others):
    return "better"
  return "worse" if max(ours) < min(others) else "undecided"


def format_table(measured: Measured) -> list[str]:
  """Our rows, mean and half of the range over seeds, and the paper's."""
  lines = [
    f"| backbone | {' | '.join(COLUMNS)} |",
    "|---" * (len(COLUMNS) + 1) + "|",
  ]
  for variant, row in measured.items():
    cells = [
      f"{statistics.fmean(values):.3g} ± {(max(values) - min(values)) / 2:.2g}"
      for values in row.values()
    ]
    lines.append(f"| toy, {variant} | {' | '.join(cells)} |")
  for i, (variant, name) in enumerate(PAPER_ROWS.items()):
    cells = [
      f"{column.paper[i]:g}" if column.paper else "-"
      for column in COLUMNS.values()
    ]
    lines.append(f"| paper: {name}, {variant} | {' | '.join(cells)} |")
  return lines


def format_directions(measured: Measured) -> list[str]:
  """For each comparison in the paper's table, whether ours goes its way."""
  lines = [
    "| joint against | on | paper | here | |",
    "|---|---|---|---|---|",
  ]
  names = list(PAPER_ROWS)
  for other in (RECONSTRUCTION, DISTILLATION):
    for title, column in COLUMNS.items():
      if not column.paper:
        continue
      paper = dict(zip(names, column.paper))
      told = compare([paper[JOINT]], [paper[other]], column)
      found = compare(measured[JOINT][title], measured[other][title], column)
      verdict = {told: "agrees", "undecided": "seeds overlap"}.get(
        found, "DISAGREES"
      )
      claimed = " (the claim)" if (other, title) in CLAIMS else ""
      lines.append(
        f"| {other} | {title}{claimed} | {told} | {found} | {verdict} |"
      )
  return lines


def draw(measured: Measured) -> bytes:
  """A panel a column, a dot a seed; PNG."""
  figure, panels = plt.subplots(
    1, len(COLUMNS), figsize=(2.2 * len(COLUMNS), 3.2), layout="constrained"
  )
  for axes, (title, column) in zip(panels, COLUMNS.items()):
    for place, row in enumerate(measured.values()):
      values = row[title]
      axes.plot([place] * len(values), values, "o", color=f"C{place}")
    axes.set_xticks(range(len(measured)), measured, rotation=60, ha="right")
    axes.set_xlim(-0.5, len(measured) - 0.5)
    better = "higher" if column.higher_is_better else "lower"
    axes.set_title(f"{title}\n({better} is better)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
  png = curves.to_png(figure)
  curves.close(figure)
  return png


def summarize(output: str) -> dict[str, bytes]:
  """Tables and picture of what was measured: name of each file, content."""
  measured = read_results(output)
  text = "\n".join(
    [*format_table(measured), "", *format_directions(measured), ""]
  )
  return {
    "replication.md": text.encode(),
    "replication.json": json.dumps(measured, indent=2).encode(),
    "replication.png": draw(measured),
  }


if __name__ == "__main__":
  run_experiment(__file__, __doc__.splitlines()[0], make_phases, summarize)
