"""Body parts, one for each pixel: 29 classes, or those of `task.classes`.

Reads `data.image_size`, `model.dtype` and FIELDS.

A prediction is (h, w) uint8: the number of a class.
"""

import dataclasses
from typing import ClassVar

import cv2
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.annotated.parts import IN_THE_WILD
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import IGNORE, Labels
from data_pipelines.loading.examples import ElementSpec
from data_pipelines.sources.base import ImageSource
from sapiens2_jax.fields import Field
from sapiens2_jax.models import heads
from sapiens2_jax.models.heads import DeconvHead
from sapiens2_jax.tasks import backgrounds, maps
from sapiens2_jax.tasks.base import Arrays, Example, Image, Loss, Rng, Size
from sapiens2_jax.tasks.segmentation import augment, class_sets
from sapiens2_jax.tasks.segmentation import losses as objective
from sapiens2_jax.tasks.segmentation.augment import Parts
from sapiens2_jax.tasks.segmentation.class_sets import ClassSet
from sapiens2_jax.tasks.segmentation.drawing import draw_parts
from sapiens2_jax.tasks.segmentation.metric import SegmentationMetric

# Of people, before and after augmentation. Source: the public release.
MIN_PIXELS = 8
MIN_FRACTION = 0.01

FIELDS = {
  backgrounds.NAME: backgrounds.FIELD,  # Four times in five.
  class_sets.FIELD: Field(
    "",
    "A file of classes instead of the 29; see tasks/name_sets.py.",
    source="ours",
    resolve=class_sets.resolve,
  ),
  **heads.config_fields(
    upsample_channels=(512, 256, 128, 64), conv_channels=(64, 64)
  ),
}


def make_task(config: ConfigDict) -> "SegmentationTask":
  """Raises ValueError if `task.backgrounds` holds no images."""
  known = class_sets.make(class_sets.resolve(config.task.classes))
  given = maps.settings(
    config, "logits", len(known.names), DeconvHead, deconv_init="uniform"
  )
  source = backgrounds.open_backgrounds(config)
  return SegmentationTask(
    "segmentation",
    ("parts", f"{IN_THE_WILD}?"),
    **given,
    classes=known,
    backgrounds=source,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationTask(maps.StretchedTask):
  """See `base.ProbedTask` and `RelabelledTask`."""

  classes: ClassSet
  backgrounds: ImageSource | None
  view: ClassVar[str] = "squeeze"
  enlarging: ClassVar[int] = cv2.INTER_CUBIC

  def relabel(self, labels: Labels) -> Labels:
    return self.classes.relabel(labels)

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "parts": (self.map_size, np.uint8),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    if labels.parts is None:
      raise UnusableExample("no parts")
    if _people(labels.parts).sum() < MIN_PIXELS:
      raise UnusableExample(f"people cover fewer than {MIN_PIXELS} pixels")
    wild = labels.get(IN_THE_WILD)  # Its own background is worth more.
    is_wild = wild is not None and wild.any()
    background = None if is_wild else self._background(image, rng)
    image, parts = augment.augment_parts(
      image,
      labels.parts,
      self.image_size,
      rng,
      self.classes.pairs,
      background,
    )
    if _people(parts).mean() < MIN_FRACTION:
      raise UnusableExample("people cover less than 1 % of the crop")
    parts = augment.resize_parts(parts, self.map_size)
    return {"image": image, "parts": parts}

  def targets(self, labels: Labels, size: Size) -> list[Example]:
    parts = augment.resize_parts(labels.parts, self.map_size)
    if _people(parts).mean() < MIN_FRACTION:
      raise UnusableExample("people cover less than 1 % of the image")
    return [{"parts": parts}]

  def _background(self, image: Image, rng: Rng) -> Image | None:
    probability = augment.BACKGROUND_PROBABILITY
    if self.backgrounds is None or rng.random() >= probability:
      return None
    return backgrounds.draw_background(self.backgrounds, image.shape[:2], rng)

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    parts = batch["parts"]
    logits = objective.match_labels(outputs["logits"], parts.shape[1:])
    parts_loss = objective.cross_entropy(logits, parts, self.classes.weights)
    dice_loss = jnp.mean(objective.dice_losses(logits, parts))
    return parts_loss + dice_loss, {
      "loss_ce": parts_loss,
      "loss_dice": dice_loss,
      "accuracy": objective.pixel_accuracy(logits, parts),
    }

  def restore(self, output: Example, place: Size) -> Parts:
    """The class of the highest logit, of logits resized to the image.

    Class after class: all maps of a large photograph are gigabytes.
    """
    logits, best = output["logits"], np.full(place, -np.inf, np.float32)
    parts = np.zeros(place, np.uint8)
    for number in range(logits.shape[-1]):
      plane = np.ascontiguousarray(logits[..., number], np.float32)
      plane = cv2.resize(plane, place[::-1])
      better = plane > best
      parts[better], best[better] = number, plane[better]
    return parts

  def metric(self) -> SegmentationMetric:
    return SegmentationMetric(len(self.classes.names))

  def draw(self, image: Image, prediction: Parts) -> Image:
    return draw_parts(image, prediction, self.classes.colors)


def _people(parts: np.ndarray) -> np.ndarray:
  return (parts > 0) & (parts != IGNORE)
