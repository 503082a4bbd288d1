"""Predicts for images and writes what was found."""

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

from data_pipelines import sources
from data_pipelines.common import images, storage
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.files import whole_file, write_file
from data_pipelines.common.progress import Progress
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image, Task
from sapiens2_jax.tasks.evaluate import Item, predict
from sapiens2_jax.tasks.files import to_png
from sapiens2_jax.tasks.output import Listed, Output
from sapiens2_jax.training.step import Spread

THUMBNAIL = (320, 480)  # height and width in pixels, at most  # ours
_QUALITY = 85  # of thumbnails, as JPEG counts it  # ours

# What is known of an image, by its name, before anything is predicted.
Know = Callable[[str, Image], Labels]


@dataclasses.dataclass(frozen=True)
class Predicted:
  """What was written for one image; paths are relative to the output."""

  name: str  # of the image, relative to its folder
  size: tuple[int, int]  # (height, width) in pixels
  stem: str  # of its files
  numbers: dict[tuple[str, str], str]  # paths by the keys of `Files`

  @property
  def picture(self) -> str:
    return f"predictions/{self.stem}.png"

  @property
  def thumbnails(self) -> tuple[str, str]:
    """Of the input and of the picture."""
    kinds = "input", "prediction"
    return tuple(f"thumbnails/{kind}/{self.stem}.jpg" for kind in kinds)

  @property
  def files(self) -> tuple[str, ...]:
    """The picture, then the numbers."""
    return self.picture, *self.numbers.values()


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What became of all images."""

  done: list[Predicted]  # in the order of the source
  skipped: list[tuple[str, str]]  # name and reason of those not readable
  seconds: float  # that it took, with compilation


def output_stems(names: list[str]) -> dict[str, str]:
  """Names of files without ending: those of the images.

  If two images differ in nothing but their endings, all keep theirs.
  """
  stems = [os.path.splitext(name)[0] for name in names]
  is_unique = len(set(stems)) == len(stems)
  return dict(zip(names, stems if is_unique else names))


def predict_images(
  model: Spread,
  source: sources.ImageSource,
  know: Know,
  output: Output,
  directory: str,
  parts: tuple[Task, Spread] | None = None,
) -> Predictions:
  """Writes pictures, numbers and thumbnails of all images that can be read.

  Args:
    model: that predicts, of the task of `output`.
    source: of the images, each with a name of its own.
    know: what is known of an image, such as boxes of its people.
    output: what is written.
    directory: where to.
    parts: a model of body parts: what is none of them is no person.
  """
  names = [source.name(number) for number in range(len(source))]
  stems = output_stems(names)
  waiting: collections.deque[tuple[str, Image]] = collections.deque()
  done, skipped = [], []
  start = time.monotonic()

  def read(progress: Progress) -> Iterator[Item]:
    for number, name in enumerate(names):
      try:
        image = images.decode_image(source[number].image)
        labels = know(name, image)
      except (UnusableExample, sources.ShardReadError) as error:
        skipped.append((name, str(error)))
        progress.advance()
        continue
      waiting.append((name, image))
      yield image, labels

  with Progress("predict", len(names), "images") as progress:
    items = read(progress)
    if parts:
      items = find_foreground(*parts, items)
    for prediction, labels in predict(
      output.task, model.apply_fn, model.params, items, model.batch_size
    ):
      name, image = waiting.popleft()
      numbers = output.encode(image, prediction, labels)
      paths = {(f, end): f"{f}/{stems[name]}{end}" for f, end in numbers}
      one = Predicted(name, image.shape[:2], stems[name], paths)
      for kind, content in numbers.items():
        write_file(os.path.join(directory, paths[kind]), content)
      thumbnail = os.path.join(directory, one.thumbnails[0])
      write_file(thumbnail, make_thumbnail(image))
      if not output.draws_last:
        _write_picture(directory, one, output.draw(image, prediction, labels))
      done.append(one)
      progress.advance()
  _finish(output, directory, done)
  return Predictions(done, skipped, time.monotonic() - start)


def find_foreground(
  task: Task, model: Spread, items: Iterable[Item]
) -> Iterator[Item]:
  """Adds `Labels.alpha`: 255 where a model of body parts finds one."""
  waiting: collections.deque[Item] = collections.deque()

  def seen() -> Iterator[Item]:
    for item in items:
      waiting.append(item)
      yield item

  for parts, _ in predict(
    task, model.apply_fn, model.params, seen(), model.batch_size
  ):
    image, labels = waiting.popleft()
    alpha = np.where(parts > 0, 255, 0).astype(np.uint8)
    yield image, dataclasses.replace(labels, alpha=alpha)


def _finish(output: Output, directory: str, done: list[Predicted]) -> None:
  """Writes what needs all images."""

  def read(one: Predicted) -> Listed:
    paths = {kind: one.numbers[kind] for kind in output.reads}
    files = {
      kind: storage.read_bytes(os.path.join(directory, path))
      for kind, path in paths.items()
    }
    return Listed(one.name, one.size, files)

  if output.draws_last:
    for one in done:
      _write_picture(directory, one, output.draw_last(read(one).files))
  name = os.path.basename(os.path.abspath(directory))
  summary = output.summarize(name, map(read, done)) if done else None
  if summary:
    with whole_file(os.path.join(directory, summary[0])) as file:
      file.writelines(summary[1])


def _write_picture(directory: str, one: Predicted, picture: Image) -> None:
  thumbnail = os.path.join(directory, one.thumbnails[1])
  write_file(thumbnail, make_thumbnail(picture))
  write_file(os.path.join(directory, one.picture), to_png(picture))


def make_thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
  """JPEG file of an image made small enough; a small one stays as it is."""
  height, width = image.shape[:2]
  scale = min(1.0, THUMBNAIL[0] / height, THUMBNAIL[1] / width)
  size = max(1, round(width * scale)), max(1, round(height * scale))
  small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
  bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
  settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
  return cv2.imencode(".jpg", bgr, settings)[1].tobytes()
