"""A human task small enough for tests: how much of each patch people cover."""

import dataclasses
import multiprocessing

import cv2
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax._src import xla_bridge

from data_pipelines.common.errors import UnusableExample
from sapiens2_jax.models.layers import partitioned
from sapiens2_jax.tasks import ModelInput, Score, TaskDefinition

PATCH = 16


class Head(nn.Module):
  """A 3x3 convolution, a transposed one, a 1x1 one."""

  @nn.compact
  def __call__(self, features):
    init = nn.initializers.lecun_normal()
    x = nn.Conv(
      16, (3, 3), kernel_init=partitioned(init, None, None, "embed", "mlp")
    )(features)
    x = nn.ConvTranspose(8, (4, 4), (2, 2), use_bias=False)(nn.silu(x))
    x = nn.Conv(1, (1, 1))(nn.silu(x))
    return {"alpha": nn.avg_pool(x, (2, 2), (2, 2))}


@dataclasses.dataclass(frozen=True)
class Alpha:
  """Predicts the mean of alpha over each patch; in [0, 1]."""

  size: tuple[int, int]
  name: str = "alpha"
  needs: tuple[str, ...] = ("alpha",)

  @property
  def grid(self):
    return tuple(side // PATCH for side in self.size)

  def element_spec(self):
    return {
      "image": ((*self.size, 3), np.uint8),
      "alpha": (self.grid, np.float32),
      "weight": ((), np.float32),
    }

  def _scale(self, array):
    return cv2.resize(array, self.size[::-1], interpolation=cv2.INTER_AREA)

  def target(self, alpha):
    return cv2.resize(
      alpha.astype(np.float32) / 255,
      self.grid[::-1],
      interpolation=cv2.INTER_AREA,
    )

  def example(self, image, labels, rng):
    if multiprocessing.parent_process() is not None:  # A data worker.
      assert not xla_bridge.backends_are_initialized()
    if not labels.alpha.any():
      raise UnusableExample("nobody in the image")
    alpha = labels.alpha
    if rng.random() < 0.5:
      image, alpha = image[:, ::-1], alpha[:, ::-1]
    return {
      "image": self._scale(image),
      "alpha": self.target(alpha),
      "weight": np.float32(1),
    }

  def head(self):
    return Head()

  def loss(self, outputs, batch):
    error = (outputs["alpha"][..., 0] - batch["alpha"]) ** 2
    weights = batch["weight"][:, None, None]
    loss = jnp.mean(jnp.asarray(error * weights, jnp.float32))
    return loss, {"loss_square": loss, "alpha_mean": jnp.mean(batch["alpha"])}

  def preprocess(self, image, labels):
    """The image, and mirrored if it is wide: not each has as many inputs."""
    views = [image, image[:, ::-1]]
    views = views[: 1 + (image.shape[1] > image.shape[0])]
    return [
      ModelInput(self._scale(view), flip) for flip, view in enumerate(views)
    ]

  def postprocess(self, outputs, prepared):
    maps = [
      out["alpha"][:, ::-1, 0] if one.context else out["alpha"][..., 0]
      for out, one in zip(outputs, prepared)
    ]
    return np.mean(maps, axis=0)

  def metric(self):
    return MeanError(self)

  def draw(self, image, prediction):
    return image


class MeanError:
  """Mean absolute error over the patches of a set."""

  def __init__(self, task):
    self.task, self.total, self.count = task, 0.0, 0

  def add(self, prediction, labels):
    error = np.abs(prediction - self.task.target(labels.alpha))
    self.total += float(error.sum())
    self.count += error.size

  def merge(self, other):
    self.total += other.total
    self.count += other.count

  def result(self):
    return {"mae": self.total / self.count}


def make_task(config) -> Alpha:
  return Alpha(tuple(config.data.image_size))


TASK = TaskDefinition(
  name="alpha",
  make=make_task,
  score=Score("mae", "alpha MAE", higher_is_better=False),
)
