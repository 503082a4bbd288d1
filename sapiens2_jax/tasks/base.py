"""What the trainer, the evaluator and all others ask of a task.

A task has a definition, which is known without a config, and is made by it for
one config.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.fields import Schema
from sapiens2_jax.tasks.probes import ProbeSettings
from sapiens2_jax.tasks.release import ReleaseHead

Image = UInt8[np.ndarray, "h w 3"]  # RGB
Images = UInt8[np.ndarray, "b h w 3"]
Size = tuple[int, int]  # (height, width), pixels
Rng = np.random.Generator
Example = dict[str, np.ndarray]
Arrays = dict[str, Array]
Loss = tuple[Float[Array, ""], Arrays]
Legend = tuple[tuple[str, tuple[int, int, int]], ...]

__all__ = [
  "Metric",
  "ModelInput",
  "ProbedTask",
  "RelabelledTask",
  "Score",
  "Task",
  "TaskDefinition",
  "UnusableExample",
]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelInput:
  """One input of the network, and how its output gets back to the image.

  Attributes:
    image: (h, w, 3) uint8 RGB, of the size that the network sees.
    context: what `Task.postprocess` needs: padding, box, size of the image.
  """

  image: Image
  context: Any


Inputs = list[ModelInput]
Outputs = list[Example]  # of the network, one for each input


class Metric(Protocol):
  """Adds up over a whole set; never a mean of means."""

  def add(self, prediction: Any, labels: Labels) -> None:
    """Takes in one image: what `Task.postprocess` returned for it."""

  def merge(self, other: "Metric") -> None:
    """Takes in all that another one took in, after its own.

    Processes of a job measure a share of a set each, and send each other their
    metrics: they can be pickled.
    """

  def result(self) -> dict[str, float]:
    """Names and values, as the paper reports them."""


@runtime_checkable
class Task(Protocol):
  """One human task.

  Host methods are NumPy, run in data workers and must be picklable; the head
  and the loss are JAX.

  Attributes:
    name: that of its definition.
    needs: fields of `Labels` that training and metric read; a record without
      one of them is left out. "NAME?" is read where it is there.
  """

  name: str
  needs: tuple[str, ...]

  def element_spec(self) -> ElementSpec:
    """Shape and dtype of each array of an example; `image` is one of them."""

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """Augments an image of any size; makes the targets.

    Raises:
      UnusableExample: nothing in it to learn from.
    """

  def head(self) -> nn.Module:
    """A module: features (b, rows, cols, d) -> dict of output arrays.

    Maps are channels last, (b, h, w, c).
    """

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    """Scalar float32, and metrics whose parts are named `loss_...`."""

  def preprocess(self, image: Image, labels: Labels | None) -> Inputs:
    """Test-time inputs: one, or one a person; `labels` give boxes only."""

  def postprocess(self, outputs: Outputs, inputs: Inputs) -> Any:
    """Test-time outputs of one image, brought back to its size."""

  def metric(self) -> Metric:
    """A new, empty one."""

  def draw(self, image: Image, prediction: Any) -> Image:
    """The picture that people look at."""


@runtime_checkable
class ProbedTask(Task, Protocol):
  """A task that can be learned from features of what `preprocess` makes.

  Attributes:
    view: tasks of the same view prepare the same inputs of an image, so that
      they share features.
    map_size: (height, width) of the map that it reads in outputs.
  """

  view: str
  map_size: Size

  def targets(self, labels: Labels, size: Size) -> list[Example | None]:
    """What `example` gives beside the image, without augmentation.

    Args:
      labels: with the fields of `needs`.
      size: (height, width) of the image.

    Returns:
      One for each input of `preprocess`; None: nothing to learn from.

    Raises:
      UnusableExample: nothing to learn from in any.
    """


@runtime_checkable
class RelabelledTask(Task, Protocol):
  """A task whose classes or keypoints need not be those of a corpus."""

  def relabel(self, labels: Labels) -> Labels:
    """Labels of a corpus in its own; all other methods get these.

    Raises:
      UnusableExample: they hold something else.
    """


@dataclasses.dataclass(frozen=True)
class Score:
  """The number of a metric that stands for a task in tables.

  Attributes:
    key: its name in `Metric.result`.
    title: what a table calls it, with the unit.
    higher_is_better: or lower.
    factor: tables show the number times this.
  """

  key: str
  title: str
  higher_is_better: bool
  factor: float = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskDefinition:
  """A task before there is a config; None: it does not offer that.

  Attributes:
    name: in configs (`task.name`), checkpoints and commands.
    make: the task of a config; raises ValueError for values that do not fit.
    score: of its metric.
    better: of its metric's other numbers, by patterns of their names (the
      first that fits), whether higher is better.
    fields: of a config, which only this task has, in the groups `task` and
      `head`; defaults of `task` serve for weights without a config.
    training_fields: dotted names of those that training alone reads, and other
      machines may not have.
    note: what the picture shows and the files hold, for people; plain text.
    labels: the field with a `name_sets.NameSet` of the channels, if they can
      be others than those of `release`; empty: those of `release`.
    legend: names and RGB colours in the picture.
    output: how predictions become files, a subclass of `output.Output`; None:
      pictures alone.
    truth: labels of an image as a prediction, so that `Task.draw` draws them.
    mask: a prediction without what the loss does not look at.
    stride: pixels of the image for one of the map, on a side; None: as the
      encoder reconstructs.
    probe: how features are measured; the task is a `ProbedTask` then.
    release: its head in released weights.
  """

  name: str
  make: Callable[[ConfigDict], Task]
  score: Score
  better: Mapping[str, bool] = dataclasses.field(default_factory=dict)
  fields: Schema = dataclasses.field(default_factory=dict)
  training_fields: tuple[str, ...] = ()
  note: str = ""
  labels: str = ""
  legend: Callable[[Task], Legend] | None = None
  output: type | None = None
  truth: Callable[[Image, Labels], Any] | None = None
  mask: Callable[[Any, Labels], Any] | None = None
  stride: int | None = None
  probe: ProbeSettings | None = None
  release: ReleaseHead | None = None
