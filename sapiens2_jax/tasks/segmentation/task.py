"""Body parts, one for each pixel: 29 classes, or those of `task.classes`.

Reads `data.image_size`, `model.dtype` and FIELDS.

A prediction is (h, w) uint8: the number of a class.
"""

import dataclasses
from typing import ClassVar

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from data_pipelines.annotated.parts import IN_THE_WILD
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import IGNORE, Labels
from data_pipelines.corpus.records import Box
from data_pipelines.loading.examples import ElementSpec
from data_pipelines.sources.base import ImageSource
from sapiens2_jax.fields import Field, one_of
from sapiens2_jax.models import heads
from sapiens2_jax.models.heads import DeconvHead
from sapiens2_jax.tasks import backgrounds, geometric, maps
from sapiens2_jax.tasks.base import (
  Arrays,
  Example,
  Image,
  Inputs,
  Loss,
  ModelInput,
  Outputs,
  Rng,
  Size,
)
from sapiens2_jax.tasks.segmentation import augment, class_sets
from sapiens2_jax.tasks.segmentation import losses as objective
from sapiens2_jax.tasks.segmentation.augment import Parts
from sapiens2_jax.tasks.segmentation.class_sets import ClassSet
from sapiens2_jax.tasks.segmentation.drawing import draw_parts
from sapiens2_jax.tasks.segmentation.metric import SegmentationMetric

# Of people, before and after augmentation. Source: the public release.
MIN_PIXELS = 8
MIN_FRACTION = 0.01
PADDING = 1.1  # of a crop around a box: ours
_CROPS = dict.fromkeys(("image", "person"))
Region = tuple[slice, slice]  # rows and columns

FIELDS = {
  backgrounds.NAME: backgrounds.FIELD,  # Four times in five.
  class_sets.FIELD: Field(
    "",
    "A file of classes instead of the 29; see tasks/name_sets.py.",
    source="ours",
    resolve=class_sets.resolve,
  ),
  "task.crop": Field(
    "image",
    "What training and evaluation see at once: the image, or a person of it.",
    one_of(_CROPS),
    "ours",
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
  people = ("people",) if config.task.crop == "person" else ()
  return SegmentationTask(
    "segmentation",
    ("parts", *people, f"{IN_THE_WILD}?"),
    **given,
    classes=known,
    backgrounds=source,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationTask(maps.NetworkTask):
  """See `base.ProbedTask` and `RelabelledTask`.

  Where labels hold people it sees each alone, cut out of the image.

  Attributes:
    classes: that it tells apart.
    backgrounds: put behind people.
  """

  classes: ClassSet
  backgrounds: ImageSource | None
  enlarging: ClassVar[int] = cv2.INTER_CUBIC

  @property
  def view(self) -> str:
    return "squeezed person" if "people" in self.needs else "squeeze"

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
    parts = labels.parts
    if labels.people:  # One of them by chance.
      people = self._regions(parts.shape, labels)
      known = [x for x in people if _people(parts[x]).sum() >= MIN_PIXELS]
      if not known:
        raise UnusableExample(f"no person covers {MIN_PIXELS} pixels")
      region = known[rng.integers(len(known))]
      image, parts = image[region], parts[region]
    wild = labels.get(IN_THE_WILD)  # Its own background is worth more.
    is_wild = wild is not None and wild.any()
    background = None if is_wild else self._background(image, rng)
    image, parts = augment.augment_parts(
      image, parts, self.image_size, rng, self.classes.pairs, background
    )
    if _people(parts).mean() < MIN_FRACTION:
      raise UnusableExample("people cover less than 1 % of the crop")
    parts = augment.resize_parts(parts, self.map_size)
    return {"image": image, "parts": parts}

  def targets(self, labels: Labels, size: Size) -> list[Example | None]:
    maps_ = [
      augment.resize_parts(labels.parts[region], self.map_size)
      for region in self._regions(size, labels)
    ]
    known = [_people(parts).mean() >= MIN_FRACTION for parts in maps_]
    if not any(known):
      raise UnusableExample("people cover less than 1 % of the image")
    return [{"parts": x} if fits else None for x, fits in zip(maps_, known)]

  def preprocess(self, image: Image, labels: Labels | None) -> Inputs:
    """A crop of each person, or the whole image where nobody is known."""
    size = image.shape[:2]
    return [
      ModelInput(
        geometric.stretch(image[region], self.image_size, self.enlarging),
        (size, region),
      )
      for region in self._regions(size, labels)
    ]

  def postprocess(self, outputs: Outputs, inputs: Inputs) -> Parts:
    """Of each pixel the class that a crop is surest of; else background."""
    size, _ = inputs[0].context
    parts, best = np.zeros(size, np.uint8), np.full(size, -np.inf, np.float32)
    for output, one in zip(outputs, inputs):
      logits, region = output["logits"], one.context[1]
      if len(inputs) > 1:  # Logits of two crops are of two scales.
        logits = _log_softmax(logits)
      _take_best(logits, parts[region], best[region])
    return parts

  def _regions(self, size: Size, labels: Labels | None) -> list[Region]:
    """Of an image of (height, width) what the network sees, piece by piece."""
    if labels is not None and labels.people:
      boxes = (person.box for person in labels.people)
      return [crop_region(box, size, self.image_size) for box in boxes]
    return [np.s_[:, :]]

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

  def metric(self) -> SegmentationMetric:
    return SegmentationMetric(len(self.classes.names), self.classes.pairs)

  def draw(self, image: Image, prediction: Parts) -> Image:
    return draw_parts(image, prediction, self.classes.colors)


def crop_region(box: Box, size: Size, image_size: Size) -> Region:
  """The piece of an image that shows a person.

  It has the aspect of `image_size`, and is moved into the image where it
  reaches out of it; what is larger than the image is cut.

  Args:
    box: top, left, height, width of the person, pixels.
    size: (height, width) of the image.
    image_size: that the network sees.
  """
  sides = np.maximum(box[2:], 1) * PADDING
  sides = np.max(sides / image_size) * np.array(image_size)
  sides = np.minimum(np.rint(sides).astype(int), size)
  middle = np.array(box[:2]) + np.array(box[2:]) / 2
  start = np.clip(np.rint(middle - sides / 2).astype(int), 0, size - sides)
  top, left, bottom, right = *start.tolist(), *(start + sides).tolist()
  return np.s_[top:bottom, left:right]


def _take_best(
  logits: maps.Map, parts: Parts, best: Float[np.ndarray, "h w"]
) -> None:
  """Puts classes where their logits, resized to `parts`, are above `best`.

  Class after class: all maps of a large photograph are gigabytes.
  """
  for number in range(logits.shape[-1]):
    plane = np.ascontiguousarray(logits[..., number], np.float32)
    plane = cv2.resize(plane, parts.shape[::-1])
    better = plane > best
    parts[better], best[better] = number, plane[better]


def _log_softmax(logits: maps.Map) -> maps.Map:
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _people(parts: np.ndarray) -> np.ndarray:
  return (parts > 0) & (parts != IGNORE)
