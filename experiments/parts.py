r"""What pretraining and larger people are worth to the toy's body parts.

Run:    sapiens2 experiment --config parts --output runs/parts
Needs:  two and a half hours of one CPU core; 170 MB of downloads, once

Pretrains the toy by reconstruction alone on the images that it is going to
learn parts from, without their labels: 256 x 192, two crops of an image, Muon.
Then trains it on parts with the config of fine-tuning, from random weights and
from these, on whole images and on a crop around each person; as many steps
each. Measures each on the same images of other people, whole and person by
person, with left and right told apart and joined. The same command continues
what was stopped. All choices are ours.
"""

import dataclasses
import json
import math
import os
import pathlib

from data_pipelines.common.images import decode_image
from data_pipelines.corpus.records import Record
from data_pipelines.open_source import open_source
from sapiens2_jax.config import load_module
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.report import pictures
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint, read_ends
from sapiens2_jax.tasks import make_task
from sapiens2_jax.tasks.base import Image, Task
from sapiens2_jax.tasks.columns import columns
from sapiens2_jax.tasks.evaluate import predict
from sapiens2_jax.tasks.examples import read_labels
from sapiens2_jax.tasks.segmentation.metric import class_ious
from sapiens2_jax.training.step import Spread, jit_spread

_TOY_TASKS = load_module(pathlib.Path(__file__).parent / "toy_tasks.py")
RANDOM, PRETRAINED = "random weights", "pretrained"
WHOLE, LARGER = "as they are", "larger"
PEOPLE = {WHOLE: "image", LARGER: "person"}  # `task.crop`
RUNS = (
  (PRETRAINED, WHOLE),
  (PRETRAINED, LARGER),
  (RANDOM, LARGER),
  (RANDOM, WHOLE),
)
_PRETRAIN = {
  "seed": 0,
  "data.image_size": (256, 192),
  # Not looked at, as self-distillation is left out: steps are few, and cheap.
  "data.local_size": (128, 96),
  "data.num_local": 1,
  "data.global_batch_size": 8,
  # As fine-tuning has it.
  "model.layer_scale_init": 1.0,
  "model.decoder_dim": 96,
  "model.decoder_layers": 2,
  "objective.w_cl": 0.0,
  "objective.w_koleo": 0.0,
  # Short: at 0.992 early weights would be a part of what is handed on.
  "objective.teacher_momentum": 0.98,
  "optim.name": "muon",
  "optim.peak_lr": 5e-3,
  "optim.num_steps": 1000,
  "optim.warmup_steps": 50,
  "checkpoint.every": 500,
}
_NUM_SHOWN = 4  # images


@dataclasses.dataclass(frozen=True)
class Look:
  """What a model says of the test images, seen in one way."""

  numbers: dict[str, float]  # of the metric
  ious: dict[str, float]  # percent of each class that is anywhere
  pictures: list[tuple[Image, ...]]  # of the first: it, truth, prediction


def workdir_of(output: str, start: str, people: str) -> str:
  return os.path.join(output, f"{start}-{people}".replace(" ", "-"))


def pretrain_workdir(output: str) -> str:
  return os.path.join(output, "pretrain")


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  start = pretrain_workdir(output)
  values = {"data.path": os.path.join(output, "people"), **_PRETRAIN}
  pretrained = last_checkpoint(start, _PRETRAIN["optim.num_steps"])
  train = train_arguments("pretrain:size=toy", start, values)
  phases = [
    *_TOY_TASKS.people_phases(output),
    Phase("pretrain", train, pretrained),
  ]
  for run in RUNS:
    values = {"seed": 0, "task.crop": PEOPLE[run[1]]}
    if run[0] == PRETRAINED:
      values["model.init_from"] = start
    title, workdir = f"train: {', '.join(run)}", workdir_of(output, *run)
    phase = _TOY_TASKS.train_phase(
      output, title, "segmentation", workdir, **values
    )
    needs = pretrained if run[0] == PRETRAINED else ""
    phases.append(dataclasses.replace(phase, needs=needs))
  return phases


def read_minutes(output: str) -> dict[str, dict[str, float]]:
  """What each run took, and what pretraining did before it.

  Raises:
    ValueError: a run was stopped before its end.
  """
  pretraining = _TOY_TASKS.read_run(pretrain_workdir(output)).minutes
  found = {}
  for start, people in RUNS:
    workdir = workdir_of(output, start, people)
    read_ends(workdir, "eval_mIoU_present")  # It has come to its end.
    run = _TOY_TASKS.read_run(workdir)
    found[f"{start}, {people}"] = {
      "minutes": run.minutes,
      "minutes of pretraining": pretraining if start == PRETRAINED else 0.0,
    }
  return found


def look(output: str, start: str, people: str) -> dict[str, Look]:
  """Predicts for the test images: whole ones, and person by person."""
  model, params = load_task(workdir_of(output, start, people))
  source = open_source(os.path.join(output, "test"))
  records = [source[number] for number in range(len(source))]
  spread = jit_spread(model.predict, params, 8)
  found = {}
  for seen, crop in PEOPLE.items():
    config = model.config.copy_and_resolve_references()
    config.task.crop = crop
    task = make_task(config)
    found[seen] = _look(task, spread, records)
  return found


def _look(task: Task, spread: Spread, records: list[Record]) -> Look:
  images = [decode_image(record.image) for record in records]
  items = zip(images, (read_labels(record, task) for record in records))
  metric, drawn = task.metric(), []
  for image, (prediction, labels) in zip(
    images,
    predict(task, spread.apply_fn, spread.params, items, spread.batch_size),
  ):
    metric.add(prediction, labels)
    if len(drawn) < _NUM_SHOWN:
      found = columns(task, image, prediction, labels)
      drawn.append((image, found["truth"], found["prediction"]))
  ious = zip(task.classes.names, class_ious(metric.confusion).tolist())
  known = {name: 100 * iou for name, iou in ious if not math.isnan(iou)}
  return Look(metric.result(), known, drawn)


def format_table(
  minutes: dict[str, dict[str, float]], looks: dict[str, dict[str, Look]]
) -> str:
  """A row a run; each is measured on whole images and person by person."""
  names = ["start", "people", *next(iter(minutes.values()))]
  for seen in PEOPLE:
    names += [f"mIoU, {seen}", "left and right joined"]
  rows = []
  for run, spent in minutes.items():
    row = [*run.split(", "), *(f"{value:.0f}" for value in spent.values())]
    for one in looks[run].values():
      row += [f"{one.numbers[f'mIoU_{x}']:.1f}" for x in ("present", "joined")]
    rows.append(row)
  return "\n".join([*phases_lib.table(names, rows), ""])


def format_classes(looks: dict[str, Look]) -> str:
  """Intersection over union of each class, a column a run."""
  names = dict.fromkeys(n for one in looks.values() for n in one.ious)

  def cells(name: str) -> list[str]:
    found = [one.ious.get(name) for one in looks.values()]
    return ["-" if iou is None else f"{iou:.0f}" for iou in found]

  rows = [[name.replace("_", " ").lower(), *cells(name)] for name in names]
  return "\n".join([*phases_lib.table(["class", *looks], rows), ""])


def draw(looks: dict[str, Look]) -> bytes:
  """A row an image: it, the truth, and the prediction of each; PNG."""
  rows = []
  for shown in zip(*(one.pictures for one in looks.values())):
    image, truth, _ = shown[0]
    row = {"image": image, "truth": truth}
    row |= dict(zip(looks, (prediction for *_, prediction in shown)))
    rows.append(
      [
        pictures.Tile(pictures.to_image(pixels, pictures.HEIGHT), label)
        for label, pixels in row.items()
      ]
    )
  sheet = pictures.Sheet(rows, font_size=13)
  return pictures.to_png(pictures.on_white(sheet.draw()))


def summarize(output: str) -> dict[str, bytes]:
  """What was measured: name of each file, content."""
  minutes = read_minutes(output)
  looks = {", ".join(run): look(output, *run) for run in RUNS}
  own = {", ".join(run): looks[", ".join(run)][run[1]] for run in RUNS}
  numbers = {
    run: spent
    | {
      seen: {"numbers": one.numbers, "classes": one.ious}
      for seen, one in looks[run].items()
    }
    for run, spent in minutes.items()
  }
  shown = {start: own[f"{start}, {WHOLE}"] for start in (RANDOM, PRETRAINED)}
  text = format_table(minutes, looks) + "\n" + format_classes(own)
  return {
    "parts.md": text.encode(),
    "parts.json": json.dumps(numbers).encode(),
    "parts.png": draw(shown),
  }
