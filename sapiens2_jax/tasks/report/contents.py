"""What fine-tuning on a task adds to the report of a run."""

import collections
import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.progress import Progress
from data_pipelines.corpus.labels import Labels
from data_pipelines.open_source import open_source, places
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.facts import UNKNOWN, show
from sapiens2_jax.report.metrics import ends
from sapiens2_jax.report.page import Figure, Section, Table, Verdict
from sapiens2_jax.report.photographs import Credit, choose, credit
from sapiens2_jax.report.pictures import HEIGHT, Sheet, Tile, to_image
from sapiens2_jax.report.run import Run
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.base import Task
from sapiens2_jax.tasks.columns import columns
from sapiens2_jax.tasks.evaluate import Item, predict
from sapiens2_jax.tasks.examples import read_labels
from sapiens2_jax.tasks.objective import TaskObjective
from sapiens2_jax.tasks.report.verdict import Comparison, WithOther
from sapiens2_jax.training import checkpoints
from sapiens2_jax.training.step import jit_spread

NAME, TITLE = "predictions", "Predictions"
MAX_SHOWN = 12
NUM_HIGHLIGHTS = 3
_NUM_TILES = 3
_BATCH_SIZE = 4  # inputs of a device at once


def make_contents(
  objective: TaskObjective, run: Run, data_path: str | None, count: int
) -> Contents:
  """Runs the newest model on labelled photographs, and says what it did.

  Args:
    objective: of the run.
    run: facts.
    data_path: of photographs; None for those that the run is evaluated on or,
      if there are none, trained on.
    count: how many are read, at most.
  """
  config = run.config
  path = data_path or config.evaluation.path or config.data.path
  section, verdict, credits, missing = look(objective, run, path, count)
  name = config.task.name
  height, width = config.data.image_size
  return Contents(
    title=f"sapiens2_jax fine-tuning, {name}, size {config.model.size}",
    verdict=verdict,
    highlights=choose_highlights(section),
    experiment=f"finetune:task={name},size={config.model.size}",
    facts=[
      ("task", name),
      ("started from", config.model.init_from or "random weights"),
      ("network's input", f"{height} x {width} pixels"),
      ("evaluated on", config.evaluation.path or UNKNOWN),
    ],
    sections=[section],
    notes={},
    commands=[
      (
        "Look at a folder of your own photographs",
        f"sapiens2 predict --checkpoint {shlex.quote(run.place)} "
        "--images PHOTOGRAPHS --output "
        f"{shlex.quote(f'{run.output}-predictions')}",
      )
    ],
    credits=credits,
    missing=missing,
    can_export=registry.definition(name).release is not None,
  )


def look(
  objective: TaskObjective, run: Run, path: str, count: int
) -> tuple[Section, Verdict, list[Credit], str]:
  """Runs the newest model on records of `path`, evenly spread.

  Returns:
    The section, what can be said, whom the photographs are by, what is missing
    and why.
  """
  nothing = Verdict("Nothing can be said: nothing could be measured.")
  try:
    source = open_source(path)
  except (ValueError, OSError) as error:
    missing = (
      f"No predictions: the photographs cannot be read ({error}). Give others "
      "with --data."
    )
    return Section(NAME, TITLE, warnings=[missing]), nothing, [], missing
  task, metric = objective.task, objective.task.metric()
  score = registry.definition(task.name).score
  comparison = Comparison(task, score)
  credits, failed, groups = [], [], []
  waiting: collections.deque[np.ndarray] = collections.deque()

  def read() -> Iterator[Item]:
    for index in choose(len(source), count):
      try:
        record = source[index]
        labels = read_labels(record, task)
        image = images.decode_image(
          record.image, max_pixels=run.config.data.max_pixels
        )
      except (UnusableExample, sources.ShardReadError) as error:
        failed.append(f"{source.name(index)}: {error}")
        continue
      waiting.append(image)
      credits.append(credit(record))
      yield image, labels

  params = checkpoints.load_part(run.workdir, lambda state: state.params)[1]
  devices = jax.local_devices()
  model = jit_spread(objective.predict, params, _BATCH_SIZE, devices)
  with Progress("report", min(count, len(source)), "images") as progress:
    found = predict(
      WithOther(task), model.apply_fn, model.params, read(), model.batch_size
    )
    for used, ((prediction, other), labels) in enumerate(found, 1):
      image = waiting.popleft()
      metric.add(prediction, labels)
      comparison.add(prediction, other, labels)
      if len(groups) < MAX_SHOWN:
        name = credits[len(groups)][0]
        groups.append(draw(task, name, image, prediction, labels))
      progress.reach(used + len(failed))
  missing = ""
  if failed:
    missing = f"Left out, as they cannot be used: {'; '.join(failed)}"
  if not credits:
    return Section(NAME, TITLE, warnings=[missing]), nothing, [], missing
  found, sheet = metric.result(), Sheet(groups)
  section = make_section(run, path, found, len(credits), sheet)
  verdict = comparison.judge(found[score.key], len(credits))
  if _was_seen(run, path):
    text = f"{verdict.text} It was trained on these photographs."
    verdict = dataclasses.replace(verdict, text=text)
  return section, verdict, credits, missing


def _was_seen(run: Run, path: str) -> bool:
  """Whether some of the photographs are among those of training."""
  return not places(path).isdisjoint(places(run.config.data.path))


def choose_highlights(section: Section) -> Figure | None:
  """The first photographs of the section, for the head of the page."""
  if not section.figures:
    return None
  (figure,) = section.figures
  first = Sheet(figure.picture.groups[:NUM_HIGHLIGHTS], width=1)
  return dataclasses.replace(figure, picture=first, caption="")


def draw(
  task: Task,
  name: str,
  image: UInt8[np.ndarray, "h w 3"],
  prediction: Any,
  labels: Labels,
) -> list[Tile]:
  """Image, prediction and, if it can be drawn, truth."""
  found = columns(task, image, prediction, labels)
  return [
    Tile(to_image(pixels, HEIGHT), label, text=f"{label} of {name}")
    for label, pixels in (("photograph", image), *found.items())
  ]


def make_section(
  run: Run,
  path: str,
  numbers: dict[str, float],
  count: int,
  sheet: Sheet,
) -> Section:
  """Metric and predictions of `count` photographs."""
  lead = (
    f"The model of step {run.step:,} on {count} photographs of {path}, evenly "
    "spread."
  )
  if _was_seen(run, path):
    lead += " The model was trained on these photographs."
  task = registry.definition(run.config.task.name)
  caption = f"The first {len(sheet.groups)}: photograph, prediction"
  caption += ", and what the labels say." if task.truth else "."
  if task.mask:
    caption += " Only people are shown: the loss looks at nothing else."
  rows = [
    (key, show(value), show(ends(run.metrics, f"eval_{key}")[1]))
    for key, value in numbers.items()
  ]
  shown = "  ".join(f"{key} {value}" for key, value, _ in rows)
  return Section(
    NAME,
    TITLE,
    text=[lead],
    tables=[Table(rows, ("metric", "below", "last while training"))],
    figures=[
      Figure(sheet, "Photographs beside predictions and truth", caption)
    ],
    key_numbers=[
      (key, value, f"on {count} photographs") for key, value, _ in rows
    ][:_NUM_TILES],
    line=f"metric     {shown} ({count} photographs)",
    numbers={"path": path, "num_photographs": count, **numbers},
  )
