"""A task's metric over a labelled set, with the task's test-time procedure."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.models import batching
from sapiens2_jax.tasks import ModelInput, Task
from sapiens2_jax.tasks.examples import read_labels

# Parameters and (b, h, w, 3) uint8 RGB to arrays (b, ...).
Apply = Callable[[Any, UInt8[np.ndarray, "b h w 3"]], dict[str, Any]]
Item = tuple[UInt8[np.ndarray, "h w 3"], Labels | None]


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
) -> dict[str, float]:
  """Measures a model on the first images of a source, in their order.

  Args:
    task: gives test-time inputs and outputs, and the metric.
    apply_fn: the model, for batches of one size.
    params: first argument of `apply_fn`.
    source: of records with labels.
    batch_size: inputs a call; the last batch is filled up with zeros.
    num_images: how many records, 0 for all.
    max_pixels: an image of more is left out.
    on_progress: told, now and then, how many records are done.

  Returns:
    The metric's numbers, and `images` and `skipped`: how many it is of, and how
    many were left out because image or labels cannot be used.

  Raises:
    ValueError: no image could be used.
  """
  count = min(num_images or len(source), len(source))
  metric, reasons = task.metric(), collections.Counter()

  def read() -> Iterator[Item]:
    for number in range(count):
      try:
        record = source[number]
        labels = read_labels(record, task)
        yield images.decode_image(record.image, max_pixels=max_pixels), labels
      except UnusableExample as error:
        reasons[error.reason] += 1

  used = 0
  for prediction, labels in predict(task, apply_fn, params, read(), batch_size):
    metric.add(prediction, labels)
    used += 1
    on_progress(used + reasons.total())
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


@dataclasses.dataclass(eq=False)
class _Waiting:
  """An image some of whose inputs may not have been through the model."""

  labels: Labels | None
  prepared: list[ModelInput]
  outputs: list[dict[str, np.ndarray]]

  @property
  def is_done(self) -> bool:
    return len(self.outputs) == len(self.prepared)


def predict(
  task: Task,
  apply_fn: Apply,
  params: Any,
  items: Iterable[Item],
  batch_size: int,
) -> Iterator[tuple[Any, Labels | None]]:
  """Test-time outputs of images, in their order, in batches of one size.

  Args:
    task: gives inputs and outputs.
    apply_fn, params, batch_size: see `evaluate`.
    items: images of any size, and labels where `Task.preprocess` wants some.

  Yields:
    What `Task.postprocess` returns, and the item's labels.
  """
  apply = functools.partial(apply_fn, params)
  images_waiting: collections.deque[_Waiting] = collections.deque()
  inputs: list[tuple[_Waiting, np.ndarray]] = []

  def run() -> None:
    part = inputs[:batch_size]
    del inputs[:batch_size]
    batch = np.stack([image for _, image in part])
    (outputs,) = batching.in_batches(apply, batch_size, batch)
    for number, (waiting, _) in enumerate(part):
      waiting.outputs.append(
        {name: array[number] for name, array in outputs.items()}
      )

  def finished() -> Iterator[tuple[Any, Labels | None]]:
    while images_waiting and images_waiting[0].is_done:
      one = images_waiting.popleft()
      yield task.postprocess(one.outputs, one.prepared), one.labels

  for image, labels in items:
    prepared = task.preprocess(image, labels)
    waiting = _Waiting(labels, prepared, [])
    images_waiting.append(waiting)
    inputs += [(waiting, one.image) for one in prepared]
    while len(inputs) >= batch_size:
      run()
    yield from finished()
  if inputs:
    run()
  yield from finished()
