"""Random crops of one person, and the keypoints in them.

Regions and keypoints are those of `codec`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from sapiens2_jax.tasks import photometric
from sapiens2_jax.tasks.base import Image, Rng, Size
from sapiens2_jax.tasks.pose import codec
from sapiens2_jax.tasks.pose.codec import Box, Region
from sapiens2_jax.tasks.pose.keypoint_sets import Keypoints, KeypointSet

FLIP_PROBABILITY = 0.5
HALF_BODY_PROBABILITY = 0.3
_MIN_VISIBLE = 9  # of a person of whom only a half is shown
_MIN_UPPER, _MIN_LOWER = 2, 3  # of a half that may be chosen
_UPPER_PROBABILITY = 0.7
_HALF_PADDING = 1.5
_SHIFT, _SHIFT_PROBABILITY = 0.16, 0.3  # of the region's size
_SCALE = 0.5
_ANGLE, _ANGLE_PROBABILITY = 80.0, 0.6  # degrees
_COLOR_PROBABILITY = 0.8
_BLUR_PROBABILITY = 0.1
_BLUR_SIDES = (3, 5, 7)
_HOLE = (0.2, 0.4)  # of the crop's height and width


def augment_person(
  image: Image,
  box: Box,
  keypoints: Keypoints,
  image_size: Size,
  rng: Rng,
  known: KeypointSet,
) -> tuple[Image, Keypoints]:
  """Flips, crops, turns and spoils one person.

  Args:
    image: whole.
    box: of the person in its pixels.
    keypoints: all of them, in its pixels.
    image_size: of the crop.
    rng: drawn from.
    known: which keypoints they are.

  Returns:
    The crop; float32 keypoints in its pixels, those outside all 0.

  Source: the public Sapiens2 release.
  """
  center, extent = codec.box_region(box)
  if rng.random() < FLIP_PROBABILITY:
    width = image.shape[1]
    image, keypoints = flip(image, keypoints, known.flip_indices)
    center = np.array([width - 1 - center[0], center[1]])
  if rng.random() < HALF_BODY_PROBABILITY:
    center, extent = choose_half(center, extent, keypoints, rng, known.halves)
  center, extent, angle = jitter(center, extent, rng)
  extent = codec.fit_aspect(extent, image_size)
  affine = codec.crop_affine(center, extent, image_size, angle)
  crop = codec.warp_image(image, affine, image_size)
  keypoints = move_keypoints(keypoints, affine, image_size)
  crop = photometric.distort_colors(crop, rng, probability=_COLOR_PROBABILITY)
  return spoil(crop, rng), keypoints


def flip(
  image: Image, keypoints: Keypoints, flip_indices: np.ndarray
) -> tuple[Image, Keypoints]:
  """The mirror image, left keypoints being right ones."""
  keypoints = keypoints[flip_indices]
  keypoints[:, 0] = image.shape[1] - 1 - keypoints[:, 0]
  return image[:, ::-1], keypoints


def choose_half(
  center: np.ndarray,
  extent: np.ndarray,
  keypoints: Keypoints,
  rng: Rng,
  halves: tuple[Sequence[int], Sequence[int]],
) -> Region:
  """The region around the upper or the lower body, if enough of it is seen.

  As given with fewer than 9 visible keypoints or too few in either half.
  """
  visible = keypoints[:, 2] > 0
  if visible.sum() < _MIN_VISIBLE:
    return center, extent
  upper, lower = ([i for i in half if visible[i]] for half in halves)
  has_upper, has_lower = len(upper) >= _MIN_UPPER, len(lower) >= _MIN_LOWER
  if not has_upper and not has_lower:
    return center, extent
  if has_upper and has_lower:
    chosen = upper if rng.random() < _UPPER_PROBABILITY else lower
  else:
    chosen = upper if has_upper else lower
  points = keypoints[chosen, :2].astype(np.float64)
  # At least a pixel: all of them may lie in one place.
  size = np.maximum(np.ptp(points, axis=0), 1)
  return points.mean(axis=0), size * _HALF_PADDING


def jitter(
  center: np.ndarray, extent: np.ndarray, rng: Rng
) -> tuple[np.ndarray, np.ndarray, float]:
  """Moves, scales and turns a region; the angle is in degrees."""
  if rng.random() < _SHIFT_PROBABILITY:
    center = center + _SHIFT * _truncated_normal(rng, 2) * extent
  extent = extent * (1 + _SCALE * _truncated_normal(rng, 1))
  if rng.random() < _ANGLE_PROBABILITY:
    return center, extent, _ANGLE * float(_truncated_normal(rng, 1)[0])
  return center, extent, 0.0


def _truncated_normal(rng: Rng, count: int) -> np.ndarray:
  """Standard normal numbers within [-1, 1]."""
  values = rng.standard_normal(count)
  while (outside := np.abs(values) > 1).any():
    values[outside] = rng.standard_normal(outside.sum())
  return values


def move_keypoints(
  keypoints: Keypoints, affine: np.ndarray, image_size: Size
) -> Keypoints:
  """Keypoints in the crop, float32; those not labelled or outside are 0."""
  points = codec.transform_points(keypoints[:, :2], affine)
  inside = (points >= 0).all(axis=1)
  inside &= (points < np.array(image_size[::-1])).all(axis=1)
  moved = np.column_stack([points, keypoints[:, 2]]).astype(np.float32)
  moved[~inside | (keypoints[:, 2] <= 0)] = 0
  return moved


def spoil(crop: Image, rng: Rng) -> Image:
  """Blurs a crop now and then; paints one rectangle black."""
  if rng.random() < _BLUR_PROBABILITY:
    side = int(rng.choice(_BLUR_SIDES))
    crop = cv2.blur(crop, (side, side))
  if rng.random() < _BLUR_PROBABILITY:
    crop = cv2.medianBlur(crop, int(rng.choice(_BLUR_SIDES)))
  shape = np.array(crop.shape[:2])
  height, width = np.rint(shape * rng.uniform(*_HOLE, 2)).astype(int)
  top, left = rng.integers(0, shape - (height, width) + 1)
  crop = crop.copy()
  crop[top : top + height, left : left + width] = 0
  return crop
