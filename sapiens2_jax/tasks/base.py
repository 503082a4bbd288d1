"""What the trainer, the evaluator and `predict` ask of a task."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, UInt8

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels

__all__ = ["Metric", "ModelInput", "ProbedTask", "Task", "UnusableExample"]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelInput:
  """One input of the network, and how its output gets back to the image.

  Attributes:
    image: (h, w, 3) uint8 RGB, of the size that the network sees.
    context: what `Task.postprocess` needs: padding, box, size of the image.
  """

  image: UInt8[np.ndarray, "h w 3"]
  context: Any


class Metric(Protocol):
  """Adds up over a whole set; never a mean of means."""

  def add(self, prediction: Any, labels: Labels) -> None:
    """Takes in one image: what `Task.postprocess` returned for it."""

  def result(self) -> dict[str, float]:
    """Names and values, as the paper reports them."""


@runtime_checkable
class Task(Protocol):
  """One human task.

  Host methods are NumPy, run in data workers and must be picklable; the head
  and the loss are JAX.

  Attributes:
    name: of the module.
    needs: fields of `Labels` that training and metric read; a record without
      one of them is left out.
  """

  name: str
  needs: tuple[str, ...]

  def element_spec(self) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of each array of an example; `image` is one of them."""

  def example(
    self,
    image: UInt8[np.ndarray, "h w 3"],
    labels: Labels,
    rng: np.random.Generator,
  ) -> dict[str, np.ndarray]:
    """Augments an image of any size; makes the targets.

    Raises:
      UnusableExample: nothing in it to learn from.
    """

  def head(self) -> nn.Module:
    """A module: features (b, rows, cols, d) -> dict of output arrays.

    Maps are channels last, (b, h, w, c).
    """

  def loss(
    self, outputs: dict[str, Array], batch: dict[str, Array]
  ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Scalar float32, and metrics whose parts are named `loss_...`."""

  def preprocess(
    self, image: UInt8[np.ndarray, "h w 3"], labels: Labels | None
  ) -> list[ModelInput]:
    """Test-time inputs: one, or one a person; `labels` give boxes only."""

  def postprocess(
    self, outputs: list[dict[str, np.ndarray]], prepared: list[ModelInput]
  ) -> Any:
    """Test-time outputs of one image, brought back to its size."""

  def metric(self) -> Metric:
    """A new, empty one."""

  def draw(
    self, image: UInt8[np.ndarray, "h w 3"], prediction: Any
  ) -> UInt8[np.ndarray, "h w 3"]:
    """The picture that people look at."""


@runtime_checkable
class ProbedTask(Task, Protocol):
  """A task that can be learned from features of what `preprocess` makes.

  Attributes:
    view: tasks of the same view prepare the same inputs of an image, so that
      they share features.
  """

  view: str

  def targets(
    self, labels: Labels, size: tuple[int, int]
  ) -> list[dict[str, np.ndarray] | None]:
    """What `example` gives beside the image, without augmentation.

    Args:
      labels: with the fields of `needs`.
      size: (height, width) of the image.

    Returns:
      One for each input of `preprocess`; None: nothing to learn from.

    Raises:
      UnusableExample: nothing to learn from in any.
    """
