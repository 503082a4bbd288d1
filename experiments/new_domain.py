r"""Does it pay to continue pretraining on images of another domain? On the toy.

Run:    sapiens2 experiment --config new_domain --output runs/new_domain
Needs:  two CPU cores; 220 MB of downloads, once

Synthetic people are parted by their looks, at the median brightness of skin,
hair and clothes. The toy is pretrained on the lighter half and the sample
photographs, its encoder continued on darker ones with experiments/continue.py,
and another one pretrained on these from random weights, for as many steps;
three seeds each. Probes of frozen features on darker people that none of them
has seen, before and after. The same command continues what was stopped. All
choices are ours.
"""

import json
import os

import numpy as np

from data_pipelines.common.files import write_file
from data_pipelines.corpus import writer as corpora
from data_pipelines.corpus.labels import decode_labels
from data_pipelines.open_source import open_source
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep import probed
from sapiens2_jax.sweep.phases import Phase, synthetic_people
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint

SEEDS = (0, 1, 2)
_START_STEPS, _NUM_STEPS = 100, 60
_PEOPLE, _PROBES = 1000, 200  # images in all; of them, darker, for the probes
_SIZE = "256x192"  # of the images; the toy's views are 128 x 96
# Short runs: at 0.992 the first weights would be half of what is probed.
_SHORT = {"objective.teacher_momentum": 0.98}
START, CONTINUED, SCRATCH = "the start", "continued", "from random weights"
COLUMNS = [title for title in probed.COLUMNS if title != "pointmap L2"]
_PROBED = ("normal", "albedo", "segmentation")

_PART = (
  "import sys; from sapiens2_jax.config import load_module; "
  "load_module(sys.argv[1]).part_by_looks(*sys.argv[2:])"
)

# Of a variant: a column's numbers, one a seed.
Measured = dict[str, dict[str, list[float]]]


def part_by_looks(people: str, lighter: str, darker: str, probes: str) -> None:
  """Writes three corpora of one, by the brightness of people without light."""
  source = open_source(people)
  found = [source[number] for number in range(len(source))]

  def brightness(record) -> float:
    labels = decode_labels(record.labels, ("alpha", "albedo"))
    return float(labels.albedo[labels.alpha >= 128].mean())

  order = np.argsort([brightness(record) for record in found])
  half = len(found) // 2
  # In the order in which they were drawn, which knows nothing of looks.
  dark, light = sorted(order[:half]), sorted(order[half:])
  num_probes = len(found) * _PROBES // _PEOPLE
  parts = {lighter: light, probes: dark[:num_probes], darker: dark[num_probes:]}
  for place, numbers in parts.items():
    records = [found[number] for number in numbers]
    entry = corpora.write_shard(place, "0", records, compress=True)
    corpora.commit(place, [entry])
  write_file(done_file(lighter), b"")


def done_file(place: str) -> str:
  return f"{place}.parted"


def workdir_of(output: str, variant: str, seed: int) -> str:
  return os.path.join(output, f"{variant.replace(' ', '-')}-seed-{seed}")


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  names = ("people", "lighter", "darker", "probes", "photographs")
  people, *parts, photographs = (os.path.join(output, name) for name in names)
  lighter, darker, probes = parts
  phases = [
    synthetic_people(people, _PEOPLE, 1, _SIZE),
    Phase(
      "part them by their looks",
      ("-c", _PART, __file__, people, *parts),
      done_file(lighter),
    ),
    Phase(
      "sample photographs",
      ("-m", "data_pipelines.sample_corpus", "--output", photographs),
    ),
  ]

  def train(variant: str, seed: int, spec: str, steps: int, **more) -> Phase:
    workdir = workdir_of(output, variant, seed)
    values = {
      **{"seed": seed, "optim.num_steps": steps, "optim.warmup_steps": 10},
      **{
        "data.global_batch_size": 8,
        "probes.path": probes,
        "probes.num_images": _PROBES,
      },
      **{"probes.tasks": _PROBED, "probes.every": steps, **_SHORT},
      "checkpoint.compile_cache": os.path.join(output, "compiled"),
      **more,
    }
    arguments = train_arguments(spec, workdir, values)
    done = last_checkpoint(workdir, steps)
    return Phase(f"{variant}, seed {seed}", arguments, done)

  for seed in SEEDS:
    pretrain, go_on = "pretrain:size=toy", "continue:size=toy"
    phases += [
      train(
        *(START, seed, pretrain, _START_STEPS),
        **{"data.path": f"{lighter},7;{photographs},1"},
      ),
      train(
        *(CONTINUED, seed, go_on, _NUM_STEPS),
        **{
          "data.path": darker,
          # As if it were released: decoder and head are new.
          "model.init_from": workdir_of(output, START, seed),
          "model.init_parts": "encoder",
        },
      ),
      train(SCRATCH, seed, pretrain, _NUM_STEPS, **{"data.path": darker}),
    ]
  return phases


def read_results(output: str) -> Measured:
  """What the probes of darker people measured.

  Raises:
    ValueError: a run was stopped before its end.
  """

  def read(variant: str, is_first: bool = False) -> dict[str, list[float]]:
    workdirs = (workdir_of(output, variant, seed) for seed in SEEDS)
    return probed.read(workdirs, COLUMNS, is_first=is_first)

  return {
    START: read(CONTINUED, is_first=True),  # Measured before its first step.
    CONTINUED: read(CONTINUED),
    SCRATCH: read(SCRATCH),
  }


def format_table(measured: Measured) -> str:
  """Mean and standard deviation; what continuing is against the others."""
  rows = [[variant, *probed.cells(row)] for variant, row in measured.items()]
  for other in (START, SCRATCH):
    cells = probed.compare(measured[CONTINUED], measured[other])
    rows.append([f"{CONTINUED}, against {other}", *cells])
  table = phases_lib.table(["encoder, on darker people", *COLUMNS], rows)
  return "\n".join([*table, ""])


def summarize(output: str) -> dict[str, bytes]:
  """What was measured: name of each file, content."""
  measured = read_results(output)
  return {
    "new_domain.md": format_table(measured).encode(),
    "new_domain.json": json.dumps(measured).encode(),
  }
