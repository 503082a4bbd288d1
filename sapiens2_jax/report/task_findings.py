"""What a fine-tuned model does on labelled photographs."""

import collections
import dataclasses
import math
from collections.abc import Iterator

import jax
import numpy as np
from PIL import Image

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.report.photographs import Photograph, choose
from sapiens2_jax.report.pictures import Tile, grid, pack, to_image
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.evaluate import Item, predict
from sapiens2_jax.tasks.examples import read_labels

HEIGHT = 256  # pixels of a tile
WIDTH = 1600  # pixels of the picture, at most
MAX_SHOWN = 12
_BATCH_SIZE = 4  # inputs of the network at once


@dataclasses.dataclass(frozen=True)
class TaskFindings:
  """What was found.

  Attributes:
    numbers: of the task's metric, None where one is not finite.
    photographs: that were read; their pixels are not kept.
    picture: some of them, prediction and truth beside each.
    num_shown: how many the picture shows.
  """

  numbers: dict[str, float | None]
  photographs: list[Photograph]
  picture: Image.Image
  num_shown: int


def find(
  workdir: str, source: sources.ImageSource, count: int, max_pixels: int
) -> tuple[TaskFindings | None, list[str]]:
  """Runs the newest model of a run on some records, evenly spread.

  Args:
    workdir: of the run.
    source: of records with labels.
    count: how many records, at most.
    max_pixels: larger images are left out.

  Returns:
    The findings, None if no record can be used; and a line for each that
    cannot.
  """
  model, params = load_task(workdir)
  task, metric = model.task, model.task.metric()
  found, failed, groups = [], [], []
  waiting: collections.deque[np.ndarray] = collections.deque()

  def read() -> Iterator[Item]:
    for index in choose(len(source), count):
      try:
        record = source[index]
        labels = read_labels(record, task)
        image = images.decode_image(record.image, max_pixels=max_pixels)
      except (UnusableExample, sources.ShardReadError) as error:
        failed.append(f"{source.name(index)}: {error}")
        continue
      waiting.append(image)
      found.append(_describe(index, record))
      yield image, labels

  apply_fn = jax.jit(model.predict)
  for prediction, labels in predict(
    task, apply_fn, params, read(), _BATCH_SIZE
  ):
    image = waiting.popleft()
    metric.add(prediction, labels)
    if len(groups) < MAX_SHOWN:
      name = found[len(groups)].name
      groups.append(_draw(task, name, image, prediction, labels))
  if not found:
    return None, failed
  findings = TaskFindings(
    {k: x if math.isfinite(x) else None for k, x in metric.result().items()},
    found,
    grid(pack(groups, WIDTH), group=len(groups[0])),
    len(groups),
  )
  return findings, failed


def _describe(index: int, record) -> Photograph:
  return Photograph(
    index,
    np.zeros((0, 0, 3), np.uint8),
    (record.height, record.width),
    record.name,
    record.source,
    record.licence,
    record.attribution,
  )


def _draw(task, name: str, image, prediction, labels) -> list[Tile]:
  """Image, prediction and, if it can be drawn, truth."""
  known = registry.definition(task.name)
  if known.mask is not None:
    prediction = known.mask(prediction, labels)
  columns = [(image, name), (task.draw(image, prediction), "prediction")]
  if known.truth is not None:
    truth = known.truth(image, labels)
    columns.append((task.draw(image, truth), "truth"))
  return [Tile(to_image(pixels, HEIGHT), label) for pixels, label in columns]
