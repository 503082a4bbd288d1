r"""Do smaller images in the first steps pay? On the toy, at equal compute.

Run:    sapiens2 experiment --config curriculum --output runs/curriculum
Needs:  two CPU cores; 170 MB of downloads, once

The toy is pretrained on synthetic people at 256 x 192 in all steps, and at half
the side in the first 75 % of them (data.stages) with as many more steps as the
same useful FLOPs buy; three seeds each. All end at 256 x 192, where probes of
frozen features are measured on other people; a run of one step at learning rate
0 stands for random weights. The same command continues what was stopped. The
fraction is FastDINOv2's, all other choices are ours.
"""

import json
import os
from collections.abc import Mapping

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep import probed
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import override_text, train_arguments
from sapiens2_jax.sweep.status import last_checkpoint
from sapiens2_jax.training import stages

SEEDS = (0, 1, 2)
_SPEC = "pretrain:size=toy"
_NUM_STEPS = 160  # without a curriculum
_PEOPLE, _PROBES = 1000, 300  # images: to learn from, to probe
_SIZE = "256x192"  # of these images
_SHARED = {
  "data.image_size": (256, 192),
  "data.local_size": (128, 96),
  "data.global_batch_size": 8,
  # Short runs: at 0.992 the first weights would be a quarter of what is probed.
  "objective.teacher_momentum": 0.98,
}
_HALF_FIRST = {"data.stages": "128x96,64x48,0.75"}
RANDOM, WHOLE, CURRICULUM = "random weights", "full size", "half size first"
COLUMNS = probed.COLUMNS
_PROBED = ("normal", "albedo", "pointmap", "segmentation")

# Of a variant: a column's numbers, one a seed.
Measured = dict[str, dict[str, list[float]]]


def run_flops(values: Mapping[str, object]) -> int:
  """Useful FLOPs of all steps of a run with some fields set."""
  config = config_lib.load_config(
    _SPEC,
    [override_text(*item) for item in values.items()],
    lambda config: validation.validate(config, 1),
  )
  return stages.total_flops(build_objective(config).stages())


def get_variants() -> dict[str, dict[str, object]]:
  """Overrides of each variant, none of which costs more than the others."""
  limit = run_flops({**_SHARED, "optim.num_steps": _NUM_STEPS})
  longer = {**_SHARED, **_HALF_FIRST, "optim.num_steps": 4 * _NUM_STEPS}
  steps = 4 * _NUM_STEPS * limit // run_flops(longer)
  while run_flops({**longer, "optim.num_steps": steps}) > limit:
    steps -= 1
  return {
    RANDOM: {
      **{"optim.num_steps": 1, "optim.warmup_steps": 0, "optim.peak_lr": 0.0},
      **_SHARED,
    },
    WHOLE: {"optim.num_steps": _NUM_STEPS, **_SHARED},
    CURRICULUM: {"optim.num_steps": steps, **_HALF_FIRST, **_SHARED},
  }


def workdir_of(output: str, variant: str, seed: int) -> str:
  return os.path.join(output, f"{variant.replace(' ', '-')}-seed-{seed}")


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  people, probes = (os.path.join(output, name) for name in ("people", "probes"))
  phases = [
    synthetic_people(people, _PEOPLE, 0, _SIZE),
    synthetic_people(probes, _PROBES, 1, _SIZE),
  ]
  places = {
    "data.path": people,
    "probes.path": probes,
    "probes.num_images": _PROBES,
    "probes.tasks": _PROBED,
    "probes.every": 10 * _NUM_STEPS,  # at the end
    "checkpoint.compile_cache": os.path.join(output, "compiled"),
  }
  for variant, values in get_variants().items():
    for seed in SEEDS:
      workdir = workdir_of(output, variant, seed)
      given = {"seed": seed, **values, **places}
      arguments = train_arguments(_SPEC, workdir, given)
      done = last_checkpoint(workdir, values["optim.num_steps"])
      phases.append(Phase(f"{variant}, seed {seed}", arguments, done))
  return phases


def read_results(output: str) -> Measured:
  """What the probes measured at the end of each run.

  Raises:
    ValueError: a run was stopped before its end.
  """
  return {
    variant: probed.read(workdir_of(output, variant, seed) for seed in SEEDS)
    for variant in (RANDOM, WHOLE, CURRICULUM)
  }


def count_costs() -> dict[str, dict[str, float]]:
  """Steps and useful TFLOP of each variant; the first one learns nothing."""
  return {
    variant: {
      "steps": values["optim.num_steps"],
      "useful_tflop": round(run_flops(values) / 1e12, 3),
    }
    for variant, values in get_variants().items()
    if variant != RANDOM
  }


def format_table(measured: Measured, costs: dict[str, dict]) -> str:
  """Mean and standard deviation; what the curriculum is against the others."""
  rows = []
  for variant, row in measured.items():
    cost = costs.get(variant, {"steps": 0, "useful_tflop": 0})
    rows.append([variant, *map(str, cost.values()), *probed.cells(row)])
  for other in (WHOLE, RANDOM):
    cells = probed.compare(measured[CURRICULUM], measured[other])
    rows.append([f"{CURRICULUM}, against {other}", "", "", *cells])
  head = ["toy", "steps", "useful TFLOP", *COLUMNS]
  return "\n".join([*phases_lib.table(head, rows), ""])


def summarize(output: str) -> dict[str, bytes]:
  """What was measured: name of each file, content."""
  measured, costs = read_results(output), count_costs()
  numbers = {"costs": costs, "measured": measured}
  return {
    "curriculum.md": format_table(measured, costs).encode(),
    "curriculum.json": json.dumps(numbers).encode(),
  }
