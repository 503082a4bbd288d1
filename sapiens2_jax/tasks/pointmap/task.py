"""Pointmaps: for each pixel x right, y down, z away from the camera.

The network predicts canonical points, metric ones times a scale
s = canonical focal length / focal length, and s itself. The canonical focal
length is the width of the network's image in pixels: 768 of the reference.

Reads `data.image_size` (height, width), `head.upsample_channels`,
`head.conv_channels`, `head.scale_channels` and `head.scale_hidden`,
`model.size` and `model.dtype`; of labels alpha, depth and intrinsics.

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import dataclasses

import cv2
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.models import heads
from sapiens2_jax.tasks import dense, geometric, maps, photometric
from sapiens2_jax.tasks.base import Arrays, Example, Image, Loss, Rng
from sapiens2_jax.tasks.pointmap import losses as pointmap
from sapiens2_jax.tasks.pointmap.drawing import depth_bounds, draw_depth
from sapiens2_jax.tasks.pointmap.losses import unproject
from sapiens2_jax.tasks.pointmap.metric import Mask, PointArray, PointMetric

MIN_CANONICAL_DEPTH = 0.04
_MIN_SCALE = 1e-3
_MAX_PART = 4.0  # of the loss; beyond it there is no gradient


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """Of one image.

  Attributes:
    points: float32 metres, of the image's size.
    canonical: float32, as predicted, of the map's size.
    scale: canonical over metric, as predicted.
  """

  points: PointArray
  canonical: PointArray
  scale: float


FIELDS = heads.config_fields(
  upsample_channels=(1536, 768, 512, 256),
  scale_channels=(1536, 512, 128),
  scale_hidden=(512, 128),
)


def make_task(config: ConfigDict) -> "PointmapTask":
  """See the module for the fields that it reads."""
  given = maps.settings(
    config,
    "pointmap",
    3,
    scale_channels=tuple(config.head.scale_channels),
    scale_hidden=tuple(config.head.scale_hidden),
  )
  return PointmapTask("pointmap", ("alpha", "depth", "intrinsics"), **given)


class PointmapTask(maps.LetterboxTask):
  """See `ProbedTask`."""

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "depth": (self.map_size, np.float32),
      "mask": (self.map_size, np.bool_),
      "intrinsics": ((3, 3), np.float32),
      "scale": ((), np.float32),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """Depth is canonical; `loss` makes points of it.

    Raises:
      UnusableExample: almost nobody, or nothing else, is seen; or someone is
        too near.
    """
    image = photometric.distort_colors(image, rng)
    image, labels = geometric.random_view(image, labels, rng)
    image, labels = geometric.letterbox(image, labels, self.image_size)
    return {"image": image, **self.make_targets(self.to_map(labels))}

  def make_targets(self, labels: Labels) -> Example:
    mask, scale = _mask(labels), self._scale(labels)
    maps.check_people(mask)
    depth = np.where(mask, labels.depth * scale, 0)
    if depth[mask].min() < MIN_CANONICAL_DEPTH:
      raise UnusableExample("somebody is too near to the camera")
    return {
      "depth": depth,
      "mask": mask,
      "intrinsics": labels.intrinsics,
      "scale": scale,
    }

  def _scale(self, labels: Labels) -> np.float32:
    return np.float32(self.map_size[1] / labels.intrinsics[0, 0])

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    mask, scale, found = batch["mask"], batch["scale"], outputs["pointmap"]
    depth = jnp.where(mask, batch["depth"], 0)
    points = unproject(depth, batch["intrinsics"])
    total = jnp.sum(depth, axis=(1, 2), keepdims=True)
    count = jnp.sum(mask, axis=(1, 2), keepdims=True)
    # An empty mask leaves nothing to divide.
    mean = jnp.where(count > 0, total / jnp.maximum(count, 1), 1)[..., None]
    relative = found / mean, points / mean, mask
    surface = pointmap.surface_loss(found, points, scale, mask)
    rays = batch["intrinsics"]
    parts = {
      "loss_l1": _bounded(2 * dense.masked_l1(*relative)),
      "loss_multiscale": _bounded(pointmap.multiscale_loss(*relative)),
      "loss_silog": pointmap.silog_loss(found[..., 2], depth, mask),
      "loss_intrinsics": pointmap.intrinsics_loss(found, rays, mask),
      "loss_shift_invariant": _bounded(
        pointmap.shift_invariant_loss(*relative)
      ),
      "loss_surface": 2 * surface,
      "loss_scale": 4 * pointmap.scale_loss(outputs["scale"], scale),
    }
    return sum(parts.values()), parts

  def restore(self, output: Example, place: geometric.Letterbox) -> Points:
    """Smooths what has to be enlarged; a scale below 0.001 counts as that."""
    scale = float(output["scale"])
    points = output["pointmap"] / max(scale, _MIN_SCALE)
    points = geometric.inside(self.to_canvas(points), place)
    if any(a > b for a, b in zip(place.original_size, points.shape)):
      for _ in range(4):
        points = cv2.GaussianBlur(points, (3, 3), 0.8)
    points = cv2.resize(points, place.original_size[::-1])
    return Points(points, output["pointmap"], scale)

  def metric(self) -> "PointmapMetric":
    return PointmapMetric(self)

  def letterbox(self, labels: Labels) -> tuple[PointArray, Mask]:
    """Canonical points of the letterboxed image, and their mask."""
    boxed = self.letterbox_labels(labels)
    return boxed.pointmap() * self._scale(boxed), _mask(boxed)

  def draw(self, image: Image, prediction: Points) -> Image:
    """See `draw_depth`; from the nearest to the farthest 1 % of its pixels."""
    depth = prediction.points[..., 2]
    return draw_depth(depth, depth_bounds(depth))


class PointmapMetric:
  """Of canonical points, letterboxed, without the predicted scale.

  Args:
    task: letterboxes the labels.
  """

  def __init__(self, task: PointmapTask):
    self._task, self._points = task, PointMetric()

  def add(self, prediction: Points, labels: Labels) -> None:
    self._points.add(prediction.canonical, *self._task.letterbox(labels))

  def merge(self, other: "PointmapMetric") -> None:
    self._points.merge(other._points)

  def result(self) -> dict[str, float]:
    return self._points.result()


def _bounded(loss: dense.Scalar) -> dense.Scalar:
  return jnp.minimum(loss, _MAX_PART)


def _mask(labels: Labels) -> Mask:
  """People, where their depth is known."""
  return labels.mask & (labels.depth > 0)
