r"""Fine-tuning the toy on 50 labelled images: each way of it, side by side.

Run:    sapiens2 experiment --config little_data --output runs/little_data
Needs:  two CPU cores; 170 MB of downloads, once

Pretrains the toy on synthetic people without labels, then fine-tunes it on the
pose of people in 50 other images, three times for each way: other images and
another head. Measures each on the same 100 images. The same command continues
what was stopped. All choices are ours; all ways have one learning rate, which
was tuned for none of them.
"""

import json
import os
import statistics

from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint, read_ends

SEEDS = (0, 1, 2)
_METRIC = "eval_PCK"  # %, at 0.1 of the box
_PRETRAIN, _FINETUNE = "pretrain:size=toy", "finetune:task=pose,size=toy"
_PRETRAIN_STEPS, _NUM_STEPS = 240, 200
_SIZE = "256x192"  # of the images; the toy sees 128 x 96
_PEOPLE, _LABELLED, _TEST = 1000, 50, 100  # images
# Their seeds: no two corpora share a person.
_PEOPLE_SEED, _TEST_SEED, _LABELLED_SEED = 1, 2, 10

# The optimizer is the toy's own, Muon. Normals are no task for so few steps:
# 100 with AdamW, and 120 with Muon, ended no better than a constant answer.
_SHARED = {
  "data.augment": True,
  "optim.num_steps": _NUM_STEPS,
  "optim.warmup_steps": 20,
  "evaluation.every": _NUM_STEPS,
}
FULL, DECAY = "all", "all, layer decay 0.7"
FROZEN, LORA = "frozen backbone", "LoRA of rank 8"
VARIANTS: dict[str, dict[str, object]] = {
  FULL: {},
  DECAY: {"optim.layer_decay": 0.7},
  FROZEN: {"optim.frozen_stages": 4},
  LORA: {"model.lora_rank": 8},
}


def workdir_of(output: str, variant: str, seed: int) -> str:
  name = variant.replace(",", "").replace(" ", "-").lower()
  return os.path.join(output, f"{name}-seed-{seed}")


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  people, test = (os.path.join(output, name) for name in ("people", "test"))
  start = os.path.join(output, "pretrain")
  started = last_checkpoint(start, _PRETRAIN_STEPS)
  values = {
    "data.path": people,
    "optim.num_steps": _PRETRAIN_STEPS,
    # Short: at 0.992 the first weights would be a part of what is learned.
    "objective.teacher_momentum": 0.98,
  }
  phases = [
    synthetic_people(people, _PEOPLE, _PEOPLE_SEED, _SIZE),
    synthetic_people(test, _TEST, _TEST_SEED, _SIZE),
    Phase("pretrain", train_arguments(_PRETRAIN, start, values), started),
  ]
  for seed in SEEDS:
    labelled = os.path.join(output, f"labelled-{seed}")
    found = synthetic_people(labelled, _LABELLED, _LABELLED_SEED + seed, _SIZE)
    phases.append(found)
    for variant, own in VARIANTS.items():
      workdir = workdir_of(output, variant, seed)
      values = {
        **{"seed": seed, "data.path": labelled, "evaluation.path": test},
        "model.init_from": start,
        "checkpoint.compile_cache": os.path.join(output, "compiled"),
        **(_SHARED | own),
      }
      phases.append(
        Phase(
          f"{variant}, seed {seed}",
          train_arguments(_FINETUNE, workdir, values),
          last_checkpoint(workdir, _NUM_STEPS),
          needs=started,
        )
      )
  return phases


def read_results(output: str) -> dict[str, list[float]]:
  """The metric of each way, one a seed.

  Raises:
    ValueError: a run was stopped before its end.
  """

  return {
    variant: [
      read_ends(workdir_of(output, variant, seed), _METRIC)[1] for seed in SEEDS
    ]
    for variant in VARIANTS
  }


def format_table(measured: dict[str, list[float]]) -> str:
  """Each seed, mean and standard deviation, and how it compares with `FULL`."""
  rows = []
  for variant, values in measured.items():
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    against = phases_lib.compare(values, measured[FULL], True)
    rows.append(
      [
        variant,
        *(f"{value:.1f}" for value in values),
        f"**{mean:.1f} ± {deviation:.1f}**",
        "" if variant == FULL else against,
      ]
    )
  seeds = [f"seed {seed}" for seed in SEEDS]
  names = ["what learns", *seeds, "mean", f"against {FULL}"]
  return "\n".join([*phases_lib.table(names, rows), ""])


def summarize(output: str) -> dict[str, bytes]:
  """What was measured: name of each file, content."""
  measured = read_results(output)
  return {
    "little_data.md": format_table(measured).encode(),
    "little_data.json": json.dumps(measured).encode(),
  }
