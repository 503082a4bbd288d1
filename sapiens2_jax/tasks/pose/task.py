"""308 keypoints of each person, as heatmaps of a crop around them.

Reads `data.image_size`, `model.size`, `model.dtype` and FIELDS; there are two
transposed convolutions, or four in the 4K variant, as heatmaps are a quarter of
the input.

A prediction is (p, 308, 3) float32: x and y in pixels of the image, and a
score, of each person in the order of the labels.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels, Person
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.fields import Field
from sapiens2_jax.models import heads
from sapiens2_jax.models.grid import doublings
from sapiens2_jax.models.heads import DeconvHead
from sapiens2_jax.tasks import maps
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
  UnusableExample,
)
from sapiens2_jax.tasks.pose import augment as pose_augment
from sapiens2_jax.tasks.pose import codec
from sapiens2_jax.tasks.pose import losses as objective
from sapiens2_jax.tasks.pose.codec import Box, Keypoints, People, Region
from sapiens2_jax.tasks.pose.drawing import draw_keypoints
from sapiens2_jax.tasks.pose.metric import KeypointMetric

# Of a person to learn from; the second among the body's and the feet's.
# Source: the public Sapiens2 release.
MIN_VISIBLE = 8
MIN_VISIBLE_BODY = 6
_NUM_BODY = 21
STRIDE = 4  # pixels of the image for one of the heatmap

FIELDS = {
  "task.flip_test": Field(
    True, "Average with the mirror image: twice the work.", source="reference"
  ),
  **heads.config_fields(
    upsample_channels=(1024, 768), conv_channels=(512, 512, 256)
  ),
}


def make_task(config: ConfigDict) -> "PoseTask":
  """Raises ValueError if the head does not fit the heatmaps."""
  channels = tuple(config.head.upsample_channels)
  wanted = doublings(get_architecture(config.model.size), STRIDE)
  if len(channels) != wanted:
    raise ValueError(
      f"head.upsample_channels={channels} must be {wanted} widths: heatmaps "
      "are a quarter of the input."
    )
  count = vocabulary.keypoints()["num_keypoints"]
  given = maps.settings(config, "heatmaps", count, DeconvHead)
  given["map_size"] = codec.heatmap_size(given["image_size"])
  flip_test = config.task.flip_test
  return PoseTask("pose", ("people",), **given, flip_test=flip_test)


@dataclasses.dataclass(frozen=True, eq=False)
class PoseTask(maps.NetworkTask):
  """See `base.ProbedTask`; probed without `flip_test`."""

  flip_test: bool
  view: ClassVar[str] = "person"

  @property
  def num_keypoints(self) -> int:
    return vocabulary.keypoints()["num_keypoints"]

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "points": ((self.num_keypoints, 2), np.float32),
      "weights": ((self.num_keypoints,), np.float32),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """One person's crop; points in pixels of the heatmap; weights 0 or 1."""
    known = []
    for person in labels.people or ():
      keypoints = _hide_outside(person, image.shape)
      if _is_known(keypoints):
        known.append((person.box, keypoints))
    if not known:
      raise UnusableExample(f"no person with {MIN_VISIBLE} keypoints")
    box, keypoints = known[rng.integers(len(known))]
    crop, keypoints = pose_augment.augment_person(
      image, box, keypoints, self.image_size, rng
    )
    return {"image": crop, **self._targets(keypoints)}

  def targets(self, labels: Labels, size: Size) -> list[Example | None]:
    found = []
    for person in labels.people:
      keypoints = _hide_outside(person, size)
      affine = codec.crop_affine(*self._region(person.box), self.image_size)
      keypoints[:, :2] = codec.transform_points(keypoints[:, :2], affine)
      keypoints = _hide(keypoints, self.image_size)
      is_known = _is_known(keypoints)
      found.append(self._targets(keypoints) if is_known else None)
    if not any(found):
      raise UnusableExample(f"no person with {MIN_VISIBLE} keypoints")
    return found

  def _targets(self, keypoints: Keypoints) -> Example:
    """Of keypoints in pixels of the input."""
    ends = np.array(self.image_size[::-1], np.float32) - 1
    size = np.array(self.map_size[::-1], np.float32)
    points = keypoints[:, :2] * (size - 1) / ends
    return {
      "points": points.astype(np.float32),
      "weights": (keypoints[:, 2] > 0).astype(np.float32),
    }

  def _region(self, box: Box) -> Region:
    """Centre and size of what the input shows."""
    center, extent = codec.box_region(box)
    return center, codec.fit_aspect(extent, self.image_size)

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    heatmaps, points = outputs["heatmaps"], batch["points"]
    weights = batch["weights"]
    targets = objective.make_targets(points, weights, heatmaps.shape[1:3])
    loss = objective.heatmap_loss(heatmaps, targets, weights)
    accuracy = objective.peak_accuracy(heatmaps, points, weights)
    return loss, {"loss_heatmap": loss, "accuracy": accuracy}

  def preprocess(self, image: Image, labels: Labels | None) -> Inputs:
    """A crop of each person, or of all of the image where nobody is known.

    With `flip_test`, each is followed by its mirror image.
    """
    height, width = image.shape[:2]
    boxes = [(0, 0, height - 1, width - 1)]
    if labels is not None and labels.people is not None:
      boxes = [person.box for person in labels.people]
    inputs = []
    for box in boxes:
      center, extent = self._region(box)
      affine = codec.crop_affine(center, extent, self.image_size)
      crops = [codec.warp_image(image, affine, self.image_size)]
      if self.flip_test:
        crops.append(np.ascontiguousarray(crops[0][:, ::-1]))
      inputs += [ModelInput(crop, (center, extent)) for crop in crops]
    return inputs

  def postprocess(self, outputs: Outputs, inputs: Inputs) -> People:
    views = 2 if self.flip_test else 1
    flip_indices = np.array(vocabulary.keypoints()["flip_indices"])
    people = np.zeros((len(inputs) // views, self.num_keypoints, 3))
    for i, person in enumerate(people):
      heatmaps = outputs[views * i]["heatmaps"]
      if self.flip_test:
        heatmaps = codec.average_flipped(
          heatmaps, outputs[views * i + 1]["heatmaps"], flip_indices
        )
      points, scores = codec.decode_heatmaps(heatmaps)
      size, region = heatmaps.shape[:2], inputs[views * i].context
      person[:, :2] = codec.heatmap_to_image(points, size, *region)
      person[:, 2] = scores
    return people.astype(np.float32)

  def metric(self) -> KeypointMetric:
    return KeypointMetric()

  def draw(self, image: Image, prediction: People, **style: float) -> Image:
    """Style is that of `draw_keypoints`."""
    return draw_keypoints(image, prediction, **style)


def _hide_outside(person: Person, shape: tuple[int, ...]) -> Keypoints:
  """All keypoints of a person; those outside the image are not labelled."""
  return _hide(codec.full_keypoints(person.keypoints).copy(), shape)


def _hide(keypoints: Keypoints, shape: tuple[int, ...]) -> Keypoints:
  x, y = keypoints[:, 0], keypoints[:, 1]
  inside = (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1)
  keypoints[~inside, 2] = 0
  return keypoints


def _is_known(keypoints: Keypoints) -> bool:
  """Whether there is enough to learn from."""
  visible = keypoints[:, 2] > 0
  is_body = visible[:_NUM_BODY].sum() >= MIN_VISIBLE_BODY
  return bool(is_body and visible.sum() >= MIN_VISIBLE)
