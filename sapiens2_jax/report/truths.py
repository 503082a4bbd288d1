"""Labels as predictions, so that the same function draws both."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.pointmap.task import Points
from sapiens2_jax.tasks.pose.codec import full_keypoints

Image = UInt8[np.ndarray, "h w 3"]


def to_truth(task: str, image: Image, labels: Labels) -> Any:
  """What a perfect prediction would be; None for an unknown task."""
  maker = _TRUTHS.get(task)
  return maker(image, labels) if maker else None


def only_people(task: str, prediction: Any, labels: Labels) -> Any:
  """A prediction without what is around people, where nothing is learned."""
  mask = labels.mask if task in _OF_PEOPLE else None
  if task == "pointmap":
    return _far_behind(prediction, mask & (labels.depth > 0))
  return prediction if mask is None else prediction * mask[..., None]


def _people(image: Image, labels: Labels) -> np.ndarray:
  del image
  people = np.zeros((len(labels.people), len(full_keypoints(_NOBODY)), 3))
  for person, found in zip(labels.people, people):
    found[...] = full_keypoints(person.keypoints)
    found[:, 2] = found[:, 2] > 0
  return people


def _points(image: Image, labels: Labels) -> Points:
  del image
  points = labels.pointmap()
  is_known = labels.mask & (labels.depth > 0)
  return _far_behind(Points(points, points, 1.0), is_known)


def _far_behind(prediction: Points, mask: np.ndarray) -> Points:
  """All that is not in the mask as far as the farthest point in it."""
  depth = prediction.points[..., 2]
  farthest = depth[mask].max() if mask.any() else 1.0
  points = prediction.points.copy()
  points[..., 2] = np.where(mask, depth, farthest)
  return dataclasses.replace(prediction, points=points)


def _matte(image: Image, labels: Labels) -> np.ndarray:
  alpha = labels.alpha[..., None].astype(np.float32) / 255
  return np.concatenate([image / np.float32(255) * alpha, alpha], axis=-1)


_NOBODY = np.zeros((17, 3), np.float32)
_OF_PEOPLE = ("normal", "pointmap", "albedo")
_TRUTHS: dict[str, Callable[[Image, Labels], Any]] = {
  "pose": _people,
  "segmentation": lambda image, labels: labels.parts,
  "normal": lambda image, labels: labels.normal,
  "pointmap": _points,
  "albedo": lambda image, labels: labels.albedo / np.float32(255),
  "matting": _matte,
}
