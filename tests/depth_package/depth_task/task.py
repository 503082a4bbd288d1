"""Metric depth: for each pixel of a person metres from the camera's plane.

The network predicts the logarithm; a prediction is (h, w) float32 metres of
the image's size. The loss is L1 of the logarithm and of its differences
between neighbours. Focal lengths are not looked at: a data set of one camera.
"""

import dataclasses

import cv2
import jax.numpy as jnp
import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.fields import Field
from sapiens2_jax.models import heads
from sapiens2_jax.tasks import dense, geometric, maps, photometric

FIELDS = {
  "task.confidence": Field(
    False, "Leave out depth that the labels do not trust.", source="ours"
  ),
  **heads.config_fields(
    upsample_channels=(512, 256, 128, 64), conv_channels=(32,)
  ),
}
# A label that sapiens2_jax does not know: (h, w) uint8, 255 where sure.
CONFIDENCE = "confidence"
_MIN_CONFIDENCE = 128
_CLOSE = 1.25  # largest ratio of depths that count as equal


def make_task(config) -> "DepthTask":
  given = maps.settings(config, "log_depth", 1)
  more = (CONFIDENCE,) if config.task.confidence else ()
  return DepthTask("depth", ("alpha", "depth", *more), **given)


@dataclasses.dataclass(frozen=True, eq=False)
class DepthTask(maps.LetterboxTask):
  """See `sapiens2_jax.tasks.base.ProbedTask`."""

  def element_spec(self):
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "log_depth": (self.map_size, np.float32),
      "mask": (self.map_size, np.bool_),
    }

  def example(self, image, labels, rng):
    image = photometric.distort_colors(image, rng)
    image, labels = geometric.letterbox(image, labels, self.image_size)
    if rng.random() < 0.5:
      image, labels = geometric.flip(image, labels)
    return {"image": image, **self.make_targets(self.to_map(labels))}

  def make_targets(self, labels):
    """The logarithm of the depth, where it is known."""
    mask = _mask(labels)
    maps.check_people(mask)
    log_depth = np.log(np.where(mask, labels.depth, 1), dtype=np.float32)
    return {"log_depth": log_depth, "mask": mask}

  def loss(self, outputs, batch):
    found, wanted = outputs["log_depth"], batch["log_depth"][..., None]
    parts = {
      "loss_l1": dense.masked_l1(found, wanted, batch["mask"]),
      "loss_gradient": dense.gradient_loss(found, wanted, batch["mask"]),
    }
    mean = jnp.mean(jnp.exp(found), where=batch["mask"][..., None])
    return sum(parts.values()), {**parts, "mean_metres": mean}

  def restore(self, output, place):
    return geometric.uncover(self.to_canvas(np.exp(output["log_depth"])), place)

  def metric(self):
    return DepthMetric()

  def draw(self, image, prediction):
    """The near bright."""
    near = 1 / np.maximum(prediction, 1e-3)
    low, high = np.percentile(near, (2, 98))
    levels = maps.to_uint8((near - low) / max(high - low, 1e-6))
    return cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]


class DepthMetric:
  """abs_rel and delta_1 of people's pixels, in [0, 1]."""

  def __init__(self):
    self._error = self._close = self._count = 0

  def add(self, prediction, labels: Labels) -> None:
    mask = _mask(labels)
    found, wanted = prediction[mask], labels.depth[mask]
    self._error += float(np.sum(np.abs(found - wanted) / wanted))
    ratio = np.maximum(found / wanted, wanted / found)
    self._close += np.count_nonzero(ratio < _CLOSE)
    self._count += np.count_nonzero(mask)

  def merge(self, other: "DepthMetric") -> None:
    self._error += other._error
    self._close += other._close
    self._count += other._count

  def result(self) -> dict[str, float]:
    count = self._count or float("nan")
    return {"abs_rel": self._error / count, "delta_1": self._close / count}


def _mask(labels: Labels) -> np.ndarray:
  mask = labels.mask & (labels.depth > 0)
  confidence = labels.get(CONFIDENCE)
  return mask if confidence is None else mask & (confidence >= _MIN_CONFIDENCE)
