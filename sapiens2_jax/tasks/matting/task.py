"""Matting: how much of each pixel people cover, and with which colour.

A prediction is (h, w, 4) float32 in [0, 1] of the image's size: sRGB of the
people times alpha, and alpha. Where labels hold the people's own colours
(`foreground`), they are learned everywhere. Else where a pixel is wholly of
people (the image's own) or not at all (black).

People who are cut out, before white in their image, are put before another
background in training, an image of `task.backgrounds`.

Reads `task.backgrounds`, `data.image_size` (height, width),
`head.upsample_channels` and `head.conv_channels`, `model.size`, `model.dtype`.

Source: the public Sapiens2 release; its metric is not public: ours.
"""

import dataclasses

import cv2
import einops
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.loading.examples import ElementSpec
from data_pipelines.sources.base import ImageSource
from sapiens2_jax.models import heads
from sapiens2_jax.tasks import backgrounds, maps
from sapiens2_jax.tasks.base import Arrays, Example, Image, Loss, Rng, Size
from sapiens2_jax.tasks.matting import losses as matting
from sapiens2_jax.tasks.matting import views as matte_views
from sapiens2_jax.tasks.totals import Totals

Matte = Float[np.ndarray, "h w 4"]

MIN_OPAQUE = 254  # alpha >= 0.996
_LOSSES = {
  "l1": matting.l1_loss,
  "gradient": matting.sobel_loss,
  "laplacian": matting.laplacian_loss,
}
_SQUARE = 16  # pixels; of the checkerboard

FIELDS = {backgrounds.NAME: backgrounds.FIELD, **heads.config_fields()}


def make_task(config: ConfigDict) -> "MattingTask":
  """See the module for the fields that it reads."""
  given = maps.settings(config, "matte", 4, use_sigmoid=True)
  source = backgrounds.open_backgrounds(config)
  needs = ("alpha", "foreground?")
  return MattingTask("matting", needs, **given, backgrounds=source)


@dataclasses.dataclass(frozen=True, eq=False)
class MattingTask(maps.StretchedTask):
  """See `Task`."""

  backgrounds: ImageSource | None

  enlarging = cv2.INTER_LINEAR

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "alpha": (self.map_size, np.uint8),
      # Times alpha; zeros if labels do not have it.
      "foreground": ((*self.map_size, 3), np.uint8),
      "has_foreground": ((), np.bool_),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """See `Task`.

    Raises:
      UnusableExample: almost nobody, or nothing else, is seen; or somebody is
        cut out, and there are no backgrounds.
    """
    maps.check_people(labels.mask)
    matte, foreground = labels.alpha, labels.foreground
    if foreground is not None:
      colors = matte_views.multiply(foreground, matte)
      matte = np.dstack([colors, matte])
      if (image[labels.alpha == 0] == 255).all():
        image = matte_views.composite(matte, self._background(image, rng))
    image, matte = matte_views.augment(image, matte, self.image_size, rng)
    matte = cv2.resize(matte, self.map_size[::-1])
    colors = 0 if foreground is None else matte[..., :3]
    return {
      "image": image,
      "alpha": matte_views.alpha_of(matte),
      "foreground": np.broadcast_to(np.uint8(colors), (*self.map_size, 3)),
      "has_foreground": np.bool_(foreground is not None),
    }

  def _background(self, image: Image, rng: Rng) -> Image:
    if self.backgrounds is None:
      raise UnusableExample(f"people are cut out, and no {backgrounds.NAME}")
    return backgrounds.draw_background(self.backgrounds, image.shape[:2], rng)

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    alpha = batch["alpha"][..., None]
    has_foreground = batch["has_foreground"][:, None, None, None]
    is_opaque = alpha >= MIN_OPAQUE
    image = _shrink(batch["image"], alpha.shape)
    colors = jnp.where(is_opaque, image, 0)
    colors = jnp.where(has_foreground, batch["foreground"], colors)
    target = jnp.concatenate([colors, alpha], axis=-1) / 255
    is_known = is_opaque | (alpha == 0) | has_foreground
    is_known = jnp.repeat(is_known, 3, axis=-1)
    mask = jnp.concatenate([is_known, jnp.ones(alpha.shape, bool)], axis=-1)
    parts = {}
    for name, loss in _LOSSES.items():
      of_channel = loss(outputs["matte"], target, mask)
      parts[f"loss_foreground_{name}"] = jnp.mean(of_channel[:3])
      parts[f"loss_alpha_{name}"] = of_channel[3]
    return sum(parts.values()), parts

  def restore(self, output: Example, place: Size) -> Matte:
    return np.clip(cv2.resize(output["matte"], place[::-1]), 0, 1)

  def metric(self) -> "MattingMetric":
    return MattingMetric()

  def draw(self, image: Image, prediction: Matte) -> Image:
    """People over a checkerboard."""
    rows, cols = np.indices(prediction.shape[:2]) // _SQUARE
    board = np.where((rows + cols) % 2, 0.8, 0.5)[..., None]
    return composite(prediction, board)


def composite(matte: Matte, background: Float[np.ndarray, "*b"]) -> Image:
  """People over an image, or a colour, of [0, 1]."""
  colors, alpha = matte[..., :3], matte[..., 3:]
  return maps.to_uint8(colors + (1 - alpha) * background)


def _shrink(images: Array, shape: tuple[int, ...]) -> Array:
  """To the rows and columns of a map, means of whole pixels."""
  if images.shape[1:3] == shape[1:3]:
    return images
  rows, cols = (a // b for a, b in zip(images.shape[1:3], shape[1:3]))
  images = images.astype(jnp.float32)
  return einops.reduce(
    images, "b (h r) (w s) c -> b h w c", "mean", r=rows, s=cols
  )


class MattingMetric(Totals):
  """Errors of alpha in [0, 1] over all pixels: mad, mse; ours.

  And sad, the mean over images of the sum of |error| in thousands; iou, the
  overlap of people at alpha >= 0.5; and l1_foreground, the mean error of
  colours times alpha over all pixels of images whose labels have them, as the
  reference's loss.
  """

  def __init__(self):
    self._images = self._pixels = self._both = self._either = 0
    self._absolute = self._square = self._colors = 0.0
    self._colored = 0  # Numbers that labels have of colours.

  def add(self, prediction: Matte, labels: Labels) -> None:
    found = prediction[..., 3].astype(np.float64)
    error = found - labels.alpha / 255
    self._images += 1
    self._pixels += error.size
    self._absolute += np.abs(error).sum()
    self._square += np.sum(error**2)
    people = found >= 0.5
    self._both += np.count_nonzero(people & labels.mask)
    self._either += np.count_nonzero(people | labels.mask)
    if labels.foreground is not None:
      target = labels.foreground / 255 * (labels.alpha[..., None] / 255)
      self._colors += np.abs(prediction[..., :3] - target).sum()
      self._colored += target.size

  def result(self) -> dict[str, float]:
    """NaN of nothing."""
    pixels = self._pixels or float("nan")
    return {
      "mad": float(self._absolute / pixels),
      "mse": float(self._square / pixels),
      "sad": float(self._absolute / 1000 / (self._images or float("nan"))),
      "iou": float(self._both / (self._either or float("nan"))),
      "l1_foreground": float(self._colors / (self._colored or float("nan"))),
    }
