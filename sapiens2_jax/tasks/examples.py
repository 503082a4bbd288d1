"""Examples of a human task: a labelled photograph, augmented or as it is."""

import collections
import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.random import Purpose, make_generator
from data_pipelines.corpus.labels import Labels, decode_labels
from data_pipelines.corpus.records import Record
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.tasks.base import Example, Image, RelabelledTask, Rng, Task

# Grain gives each thread an image of its own; OpenCV's threads would compete.
cv2.setNumThreads(1)

_NUM_LOOKED_AT = 32  # records


@dataclasses.dataclass(frozen=True)
class TaskExamples:
  """Makes what `Task.example` makes, in the arrays of `Task.element_spec`.

  Attributes:
    task: whose targets; without augmentation a `ProbedTask`.
    augment: False: what the task sees at test time, of a person by chance if
      it sees one at a time.
    seed: of the augmentation, 0 to 2**32 - 1.
    max_pixels: an image of more is unusable.
  """

  task: Task
  augment: bool = True
  seed: int = 0
  max_pixels: int = images.DEFAULT_MAX_PIXELS

  def element_spec(self) -> ElementSpec:
    return self.task.element_spec()

  def make(self, record: Record, index: int, epoch: int, out: Example) -> None:
    """Decodes image and labels in full, and makes an example of them."""
    labels = read_labels(record, self.task)
    image = images.decode_image(record.image, max_pixels=self.max_pixels)
    rng = make_generator(Purpose.TASK, seed=self.seed, index=index, epoch=epoch)
    make = self.task.example if self.augment else self._unchanged
    example = make(image, labels, rng)
    for name in self.element_spec():
      out[name][...] = example[name]

  def _unchanged(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """As `Task.example`."""
    inputs = self.task.preprocess(image, labels)
    targets = self.task.targets(labels, image.shape[:2])
    chosen = choose_known(targets, rng)
    return {"image": inputs[chosen].image, **targets[chosen]}


def choose_known(targets: list[Example | None], rng: Rng) -> int:
  """A place among `ProbedTask.targets` where there is something to learn."""
  known = [i for i, target in enumerate(targets) if target is not None]
  return known[rng.integers(len(known))]


def read_labels(record: Record, task: Task) -> Labels:
  """The labels that a task needs, in its own classes or keypoints.

  Raises:
    UnusableExample: there are none, some are missing, they are damaged, or
      hold other classes or keypoints than the task's.
  """
  if not record.labels:
    raise UnusableExample("no labels")
  try:
    wanted = tuple(name.removesuffix("?") for name in task.needs)
    labels = decode_labels(record.labels, wanted)
  except ValueError as error:
    raise UnusableExample("damaged labels", str(error)) from error
  missing = [name for name in _required(task) if labels.get(name) is None]
  if missing:
    raise UnusableExample(f"no {' and '.join(missing)} in the labels")
  return task.relabel(labels) if isinstance(task, RelabelledTask) else labels


def _required(task: Task) -> list[str]:
  return [name for name in task.needs if not name.endswith("?")]


def check_examples(
  source: sources.ImageSource, examples: TaskExamples, given: str
) -> None:
  """Makes an example, so that a run that can make none does not start.

  Args:
    source: of the records.
    examples: makes them.
    given: what the source is called in the message.

  Raises:
    ValueError: none of the records that were looked at gives one.
  """
  task = examples.task
  out = {name: np.zeros(*spec) for name, spec in task.element_spec().items()}
  reasons = _try(source, lambda *given: examples.make(*given, out))
  if reasons:
    raise ValueError(
      f"{given}: task.name={task.name} can learn from none of the "
      f"{reasons.total()} images that were looked at: {_list(reasons)}."
    )


def check_labels(source: sources.ImageSource, task: Task, given: str) -> None:
  """Looks at some records, so that a run without labels does not start.

  Args:
    source: of the records.
    task: needs them.
    given: what the source is called in the message.

  Raises:
    ValueError: none of those that were looked at can be used.
  """
  reasons = _try(source, lambda record, *_: read_labels(record, task))
  if reasons:
    raise ValueError(
      f"{given}: task.name={task.name} needs labels "
      f"({', '.join(_required(task))}), but none of the {reasons.total()} "
      f"images that were looked at has them: {_list(reasons)}."
    )


def _try(
  source: sources.ImageSource, use: Callable[[Record, int, int], object]
) -> collections.Counter:
  """Tries records, their index and an epoch, until one can be used.

  Returns:
    Why each cannot be; empty if one can.
  """
  looked_at = range(0, len(source), -(-len(source) // _NUM_LOOKED_AT))
  reasons = collections.Counter()
  for epoch in range(-(-_NUM_LOOKED_AT // len(looked_at))):
    for number in looked_at:
      try:
        use(source[number], number, epoch)
        return collections.Counter()
      except UnusableExample as error:
        reasons[error.reason] += 1 if epoch == 0 else 0
  return reasons


def _list(reasons: collections.Counter) -> str:
  return ", ".join(f"{n} {reason}" for reason, n in reasons.most_common() if n)
