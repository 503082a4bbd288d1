r"""Pretraining with a larger, frozen teacher beside the EMA teacher, any size.

Run:    sapiens2 train --workdir runs/d04 \
          --config distillation:size=0.4b,teacher=1b \
          --config.objective.distill_from=sapiens2_1b_pretrain.safetensors \
          --config.data.path=/data/corpus
Input:  the teacher's weights, whatever load_pretrained reads
Alone:  --config.objective.w_cl=0 leaves the EMA teacher out, and with it the
        local crops

Does it pay? Pretrains toy_large, then the toy with and without it as a teacher,
for equal steps, three seeds each, and compares probes of frozen features:

Run:    sapiens2 experiment --config distillation --output runs/distillation
Needs:  two CPU cores, half an hour of CPU time [measured beside other work: 32
        minutes, in 65]; 170 MB of downloads, once

The same command continues what was stopped. All choices are ours.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Iterator

import ml_collections

from sapiens2_jax.config import load_module, parse_argument
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep import probed
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import (
  override_text,
  point_name,
  train_arguments,
)
from sapiens2_jax.sweep.status import last_checkpoint

BASE = "distillation:size=toy,teacher=toy_large"
_TEACHER = "pretrain:size=toy_large"
_PRETRAIN = pathlib.Path(__file__).parent / "pretrain.py"

SEEDS = (0, 1, 2)
_TEACHER_STEPS, _NUM_STEPS = 240, 100
# Short runs: at the default of 0.992 the first weights would be a third of what
# is probed.
_SHORT = {"objective.teacher_momentum": 0.98}
_PEOPLE = {"people": 1000, "probes": 300}  # images: to learn from, to probe
_SIZE = "256x192"  # of these images; the toy's views are 128 x 96
_PROBED = ("normal", "albedo", "pointmap", "segmentation")

RANDOM, ALONE = "random weights", "alone"
BESIDE, INSTEAD = "frozen teacher beside EMA's", "instead of EMA's"
VARIANTS: dict[str, dict[str, object]] = {
  RANDOM: {
    "objective.w_distill": 0.0,
    **{"optim.num_steps": 1, "optim.warmup_steps": 0, "optim.peak_lr": 0.0},
  },
  ALONE: {"objective.w_distill": 0.0},
  BESIDE: {},
  INSTEAD: {"objective.w_cl": 0.0},
}


COLUMNS = probed.COLUMNS
# Of a variant, or the teacher: a column's numbers, one a seed.
Measured = dict[str, dict[str, list[float]]]


def get_config(
  argument: str = "size=0.4b,teacher=1b",
) -> ml_collections.ConfigDict:
  given = parse_argument(argument, size="0.4b", teacher="1b")
  config = load_module(_PRETRAIN).get_config(f"size={given['size']}")
  config.objective.update(w_distill=1.0, distill_size=given["teacher"])
  return config


def get_values(variant: str, seed: int) -> dict[str, object]:
  """Overrides of one run."""
  common = {"seed": seed, "optim.num_steps": _NUM_STEPS}
  return {**common, **_SHORT, **VARIANTS[variant]}


def get_sweep() -> Iterator[dict[str, object]]:
  """All runs of students; what has the same seed starts from the same ones."""
  for seed, variant in itertools.product(SEEDS, VARIANTS):
    yield get_values(variant, seed)


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  paths = {name: os.path.join(output, name) for name in _PEOPLE}
  phases = [
    synthetic_people(paths[name], count, seed, _SIZE)
    for seed, (name, count) in enumerate(_PEOPLE.items())
  ]
  teacher = teacher_folder(output)
  values = {
    "data.path": paths["people"],
    "probes.path": paths["probes"],
    "probes.num_images": _PEOPLE["probes"],
    "probes.tasks": _PROBED,
    "probes.every": _TEACHER_STEPS,  # and at the end
  }
  common = [f"--config.{override_text(*item)}" for item in values.items()]
  short = {**_SHORT, "optim.num_steps": _TEACHER_STEPS}
  train = train_arguments(_TEACHER, teacher, values | short)
  students = (
    *("-m", "sapiens2_jax.sweep", "--config", "distillation"),
    *("--output", runs_folder(output), *common),
    f"--config.objective.distill_from={teacher}",
  )
  last = last_checkpoint(teacher, _TEACHER_STEPS)
  title = f"students: {', '.join(VARIANTS)}; {len(SEEDS)} seeds each"
  return [
    *phases,
    Phase("the teacher, toy_large", train, last),
    Phase(title, students, needs=last),
  ]


def teacher_folder(output: str) -> str:
  return os.path.join(output, "teacher")


def runs_folder(output: str) -> str:
  return os.path.join(output, "students")


def read_results(output: str) -> Measured:
  """What the probes measured at the end of each run.

  Raises:
    ValueError: a run was stopped before its end.
  """

  measured = {"the teacher, toy_large": probed.read([teacher_folder(output)])}
  for variant in VARIANTS:
    names = [point_name(get_values(variant, seed)) for seed in SEEDS]
    folders = (os.path.join(runs_folder(output), name) for name in names)
    measured[f"toy, {variant}"] = probed.read(folders)
  return measured


def format_table(measured: Measured) -> list[str]:
  """Mean and standard deviation over the seeds."""
  rows = [[name, *probed.cells(row)] for name, row in measured.items()]
  return phases_lib.table(["backbone", *COLUMNS], rows)


def format_directions(measured: Measured) -> list[str]:
  """Whether a frozen teacher pays: all seeds above all, or undecided."""
  alone = measured[f"toy, {ALONE}"]
  rows = [
    [variant, *probed.compare(measured[f"toy, {variant}"], alone)]
    for variant in (BESIDE, INSTEAD)
  ]
  return phases_lib.table([f"against {ALONE}", *COLUMNS], rows)


def summarize(output: str) -> dict[str, bytes]:
  """Tables of what was measured: name of each file, content."""
  measured = read_results(output)
  lines = [*format_table(measured), "", *format_directions(measured), ""]
  return {
    "distillation.md": "\n".join(lines).encode(),
    "distillation.json": json.dumps(measured, indent=2).encode(),
  }
