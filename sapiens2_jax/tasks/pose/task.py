"""Keypoints of each person, as heatmaps of a crop around them.

There are 308, or those of `task.keypoints`.

Reads `data.image_size`, `model.size`, `model.dtype` and FIELDS; there are two
transposed convolutions, or four in the 4K variant, as heatmaps are a quarter of
the input.

A prediction is (p, k, 3) float32: x and y in pixels of the image, and a
score, of each person in the order of the labels.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from ml_collections import ConfigDict

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
from sapiens2_jax.tasks.pose import codec, keypoint_sets
from sapiens2_jax.tasks.pose import losses as objective
from sapiens2_jax.tasks.pose.codec import Box, People, Region
from sapiens2_jax.tasks.pose.drawing import draw_keypoints
from sapiens2_jax.tasks.pose.keypoint_sets import Keypoints, KeypointSet
from sapiens2_jax.tasks.pose.metric import KeypointMetric

STRIDE = 4  # pixels of the image for one of the heatmap

FIELDS = {
  "task.flip_test": Field(
    True, "Average with the mirror image: twice the work.", source="reference"
  ),
  keypoint_sets.FIELD: Field(
    "",
    "A file of keypoints instead of the 308; see tasks/name_sets.py.",
    source="ours",
    resolve=keypoint_sets.resolve,
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
  known = keypoint_sets.make(keypoint_sets.resolve(config.task.keypoints))
  given = maps.settings(config, "heatmaps", len(known.names), DeconvHead)
  given["map_size"] = codec.heatmap_size(given["image_size"])
  flip_test = config.task.flip_test
  return PoseTask(
    "pose", ("people",), **given, keypoints=known, flip_test=flip_test
  )


@dataclasses.dataclass(frozen=True, eq=False)
class PoseTask(maps.NetworkTask):
  """See `base.ProbedTask`, `RelabelledTask`; probed without `flip_test`."""

  keypoints: KeypointSet
  flip_test: bool
  view: ClassVar[str] = "person"

  @property
  def num_keypoints(self) -> int:
    return len(self.keypoints.names)

  def relabel(self, labels: Labels) -> Labels:
    return self.keypoints.relabel(labels)

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
      points = _hide_outside(person, image.shape)
      if self.keypoints.is_known(points):
        known.append((person.box, points))
    if not known:
      raise self._nobody()
    box, points = known[rng.integers(len(known))]
    crop, points = pose_augment.augment_person(
      image, box, points, self.image_size, rng, self.keypoints
    )
    return {"image": crop, **self._targets(points)}

  def _nobody(self) -> UnusableExample:
    count = self.keypoints.min_visible
    return UnusableExample(f"no person with {count} keypoints")

  def targets(self, labels: Labels, size: Size) -> list[Example | None]:
    found = []
    for person in labels.people:
      keypoints = _hide_outside(person, size)
      affine = codec.crop_affine(*self._region(person.box), self.image_size)
      keypoints[:, :2] = codec.transform_points(keypoints[:, :2], affine)
      keypoints = _hide(keypoints, self.image_size)
      is_known = self.keypoints.is_known(keypoints)
      found.append(self._targets(keypoints) if is_known else None)
    if not any(found):
      raise self._nobody()
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
    people = np.zeros((len(inputs) // views, self.num_keypoints, 3))
    for i, person in enumerate(people):
      heatmaps = outputs[views * i]["heatmaps"]
      if self.flip_test:
        heatmaps = codec.average_flipped(
          heatmaps,
          outputs[views * i + 1]["heatmaps"],
          self.keypoints.flip_indices,
        )
      points, scores = codec.decode_heatmaps(heatmaps)
      size, region = heatmaps.shape[:2], inputs[views * i].context
      person[:, :2] = codec.heatmap_to_image(points, size, *region)
      person[:, 2] = scores
    return people.astype(np.float32)

  def metric(self) -> KeypointMetric:
    return KeypointMetric(self.keypoints)

  def draw(self, image: Image, prediction: People, **style: float) -> Image:
    """Style is that of `draw_keypoints`."""
    return draw_keypoints(image, prediction, self.keypoints, **style)


def _hide_outside(person: Person, shape: tuple[int, ...]) -> Keypoints:
  """All keypoints of a person; those outside the image are not labelled."""
  return _hide(person.keypoints.copy(), shape)


def _hide(keypoints: Keypoints, shape: tuple[int, ...]) -> Keypoints:
  x, y = keypoints[:, 0], keypoints[:, 1]
  inside = (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1)
  keypoints[~inside, 2] = 0
  return keypoints
