"""A task's metric over a labelled set, with the task's test-time procedure."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.models import batching
from sapiens2_jax.runtime.gathering import ALONE, Part
from sapiens2_jax.tasks.base import Image, Images, Inputs, Outputs, Task
from sapiens2_jax.tasks.examples import read_labels

COUNTS = ("images", "skipped")  # beside the metric's numbers
# Parameters and images to arrays (b, ...).
Apply = Callable[[Any, Images], dict[str, Any]]
Item = tuple[Image, Labels | None]


def evaluate(
  task: Task,
  apply_fn: Apply,
  params: Any,
  source: sources.ImageSource,
  *,
  batch_size: int,
  num_images: int = 0,
  max_pixels: int = images.DEFAULT_MAX_PIXELS,
  on_progress: Callable[[int], None] = lambda _: None,
  part: Part = ALONE,
  num_shown: int = 0,
  on_shown: Callable[[Image, Any, Labels], None] = lambda *_: None,
) -> dict[str, float]:
  """Measures a model on the first images of a source, in their order.

  All processes of a job must call this, each for its part; all get the same
  numbers.

  Args:
    task: gives test-time inputs and outputs, and the metric.
    apply_fn: the model, for batches of one size, of this process's inputs.
    params: first argument of `apply_fn`.
    source: of records with labels; each process reads its share.
    batch_size: inputs a call, of this process; filled up with zeros where
      there are no more.
    num_images: how many records, 0 for all.
    max_pixels: an image of more is left out.
    on_progress: told, now and then, how many records of the share are done.
    part: of the images and of each batch, that is this process's.
    num_shown: of how many images, from the first of the share, `on_shown` gets
      image, prediction and labels.

  Returns:
    The metric's numbers, and `images` and `skipped`: how many it is of, and how
    many were left out because image or labels cannot be used.

  Raises:
    ValueError: no image could be used.
  """
  count = min(num_images or len(source), len(source))
  metric, reasons = task.metric(), collections.Counter()
  shown: list[Image] = []

  def read() -> Iterator[Item]:
    for number in part.share(count):
      try:
        record = source[number]
        labels = read_labels(record, task)
        image = images.decode_image(record.image, max_pixels=max_pixels)
      except UnusableExample as error:
        reasons[error.reason] += 1
        continue
      if len(shown) < num_shown:
        shown.append(image)
      yield image, labels

  used = 0
  for prediction, labels in predict(
    task, apply_fn, params, read(), batch_size, part
  ):
    metric.add(prediction, labels)
    if used < len(shown):
      on_shown(shown[used], prediction, labels)
    used += 1
    on_progress(used + reasons.total())
  measured, *others = part.gather((metric, used, reasons))
  metric, used, reasons = measured
  for other, more, unused in others:
    metric.merge(other)
    used, reasons = used + more, reasons + unused
  if not used:
    found = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
    raise ValueError(
      f"evaluation: none of {count} images can be used: {found or 'no images'}."
    )
  return {
    **metric.result(),
    "images": float(used),
    "skipped": float(reasons.total()),
  }


def predict(
  task: Task,
  apply_fn: Apply,
  params: Any,
  items: Iterable[Item],
  batch_size: int,
  part: Part = ALONE,
) -> Iterator[tuple[Any, Labels | None]]:
  """Test-time outputs of images, in their order, in batches of one size.

  Args:
    task: gives inputs and outputs.
    apply_fn, params, batch_size, part: see `evaluate`.
    items: images of any size, and labels where `Task.preprocess` wants some.

  Yields:
    What `Task.postprocess` returns, and the item's labels.
  """
  apply = functools.partial(apply_fn, params)
  waiting: collections.deque[tuple[Inputs, Labels | None]] = collections.deque()
  outputs: Outputs = []  # of the first that wait

  def images() -> Iterator[Image]:
    for image, labels in items:
      waiting.append((task.preprocess(image, labels), labels))
      yield from (one.image for one in waiting[-1][0])

  def finished() -> Iterator[tuple[Any, Labels | None]]:
    while waiting and len(waiting[0][0]) <= len(outputs):
      inputs, labels = waiting.popleft()
      own = outputs[: len(inputs)]
      del outputs[: len(inputs)]
      yield task.postprocess(own, inputs), labels

  empty = np.zeros((0, *task.element_spec()["image"][0]), np.uint8)
  for arrays in batching.as_they_come(
    apply, batch_size, images(), empty, part.gather
  ):
    outputs.extend(dict(zip(arrays, row)) for row in zip(*arrays.values()))
    yield from finished()
  yield from finished()  # Who comes last may have no inputs.
