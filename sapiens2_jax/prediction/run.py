"""Predicts for the images of a folder and writes what was found."""

import collections
import dataclasses
import os
import time
from collections.abc import Iterator

import cv2
import jax
import numpy as np
from jaxtyping import UInt8

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.files import write_file
from data_pipelines.common.progress import Progress
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.prediction import inputs
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.evaluate import Item, predict
from sapiens2_jax.tasks.files import to_png
from sapiens2_jax.tasks.objective import TaskObjective

THUMBNAIL = (320, 480)  # height and width in pixels, at most  # ours
_QUALITY = 85  # of thumbnails, as JPEG counts it  # ours


@dataclasses.dataclass(frozen=True)
class Predicted:
  """What was written for one image; paths are relative to the output."""

  name: str  # of the image, relative to its folder
  size: tuple[int, int]  # (height, width) in pixels
  input: str  # thumbnail
  picture: str  # thumbnail
  files: tuple[str, ...]  # the whole picture first


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What became of all images."""

  done: list[Predicted]  # in the order of their names
  skipped: list[tuple[str, str]]  # name and reason of those not readable
  seconds: float  # that it took, with compilation


def output_stems(names: list[str]) -> dict[str, str]:
  """Names of files without ending: those of the images.

  If two images differ in nothing but their endings, all keep theirs.
  """
  stems = [os.path.splitext(name)[0] for name in names]
  is_unique = len(set(stems)) == len(stems)
  return dict(zip(names, stems if is_unique else names))


def predict_folder(
  model: TaskObjective,
  params: dict,
  source: sources.ImageSource,
  people: dict[str, Labels],
  output: str,
  batch_size: int,
) -> Predictions:
  """Writes pictures, numbers and thumbnails of all images that can be read.

  Args:
    model, params: of `load_task`.
    source: of the images, each with a name of its own.
    people: boxes by name; without, one person is all of the image.
    output: directory.
    batch_size: inputs of the network at once.
  """
  names = [source.name(number) for number in range(len(source))]
  stems = output_stems(names)
  waiting: collections.deque[tuple[str, np.ndarray]] = collections.deque()
  done, skipped = [], []
  start = time.monotonic()

  def read(progress: Progress) -> Iterator[Item]:
    for number, name in enumerate(names):
      try:
        image = images.decode_image(source[number].image)
      except (UnusableExample, sources.ShardReadError) as error:
        skipped.append((name, str(error)))
        progress.advance()
        continue
      waiting.append((name, image))
      yield image, people.get(name) or inputs.whole_image(image.shape[:2])

  with Progress("predict", len(names), "images") as progress:
    for prediction, labels in predict(
      model.task, jax.jit(model.predict), params, read(progress), batch_size
    ):
      name, image = waiting.popleft()
      files = _encode(model.task, image, prediction, labels, stems[name])
      for path, data in files.items():
        write_file(os.path.join(output, path), data)
      first, second, *rest = files
      done.append(Predicted(name, image.shape[:2], first, second, tuple(rest)))
      progress.advance()
  return Predictions(done, skipped, time.monotonic() - start)


def _encode(task, image, prediction, labels, stem: str) -> dict[str, bytes]:
  """Contents by path: two thumbnails, the picture, the numbers."""
  picture = task.draw(image, prediction)
  encode = registry.definition(task.name).encode
  numbers = encode(prediction, labels) if encode else {}
  return {
    f"thumbnails/input/{stem}.jpg": make_thumbnail(image),
    f"thumbnails/prediction/{stem}.jpg": make_thumbnail(picture),
    f"predictions/{stem}.png": to_png(picture),
    **{
      f"{folder}/{stem}.{ending}": data
      for (folder, ending), data in numbers.items()
    },
  }


def make_thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
  """JPEG file of an image made small enough; a small one stays as it is."""
  height, width = image.shape[:2]
  scale = min(1.0, THUMBNAIL[0] / height, THUMBNAIL[1] / width)
  size = max(1, round(width * scale)), max(1, round(height * scale))
  small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
  bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
  settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
  return cv2.imencode(".jpg", bgr, settings)[1].tobytes()
