"""Augments an image together with the alpha of its people.

What a rotation or a border uncovers is white, with alpha 0.

Source: the public Sapiens2 release.
"""

import functools

import cv2
import numpy as np
from jaxtyping import UInt8

from sapiens2_jax.tasks import geometric, photometric
from sapiens2_jax.tasks.base import Image, Rng, Size

Alpha = UInt8[np.ndarray, "h w"]
Pair = tuple[Image, Alpha]
_stretch = functools.partial(geometric.stretch, enlarging=cv2.INTER_LINEAR)


def augment(image: Image, alpha: Alpha, size: Size, rng: Rng) -> Pair:
  """JPEG marks, cuts, a scale, a rotation, a flip and colours, by chance."""
  image = photometric.compress(image, rng, probability=0.5, quality=(30, 60))
  if rng.random() < 0.5:
    image, alpha = crop_to_people(image, alpha, rng.uniform(0, 0.1))
  scaled = geometric.rescaled(alpha.shape, size, rng.uniform(0.4, 2.0))
  image, alpha = _stretch(image, scaled), _resize(alpha, scaled)
  if rng.random() < 0.5:
    image, alpha = _random_crop(image, alpha, size, rng)
  if rng.random() < 0.5:
    image, alpha = rotate(image, alpha, rng.uniform(-60, 60))
  if rng.random() < 0.5:
    image, alpha = image[:, ::-1], alpha[:, ::-1]
  image = _stretch(np.ascontiguousarray(image), size)
  alpha = _resize(np.ascontiguousarray(alpha), size)
  return photometric.distort_colors(image, rng, probability=0.5), alpha


def crop_to_people(image: Image, alpha: Alpha, padding: float) -> Pair:
  """Cuts out all of alpha, then adds white until the aspect is as before.

  Args:
    image: as it is if all of alpha is 0.
    alpha: of the image.
    padding: around it, as a fraction of its width and height.
  """
  left, top, width, height = cv2.boundingRect(alpha)
  if not width:
    return image, alpha
  x, y = round(padding * width), round(padding * height)
  rows = slice(max(top - y, 0), top + height + y)
  cols = slice(max(left - x, 0), left + width + x)
  aspect = image.shape[1] / image.shape[0]
  image, alpha = image[rows, cols], alpha[rows, cols]
  height, width = alpha.shape
  more_rows = max(round(width / aspect) - height, 0)
  more_cols = max(round(height * aspect) - width, 0)
  top, left = more_rows // 2, more_cols // 2
  around = ((top, more_rows - top), (left, more_cols - left))
  image = np.pad(image, (*around, (0, 0)), constant_values=255)
  return image, np.pad(alpha, around)


def rotate(image: Image, alpha: Alpha, degrees: float) -> Pair:
  """Around the centre, counter-clockwise; the size stays."""
  height, width = alpha.shape
  center = ((width - 1) / 2, (height - 1) / 2)
  matrix = cv2.getRotationMatrix2D(center, degrees, 1)
  size = (width, height)
  return (
    cv2.warpAffine(image, matrix, size, borderValue=(255, 255, 255)),
    cv2.warpAffine(alpha, matrix, size, borderValue=0),
  )


def _random_crop(image: Image, alpha: Alpha, size: Size, rng: Rng) -> Pair:
  """At most `size`, at a uniform place."""
  room = np.maximum(np.subtract(alpha.shape, size), 0)
  top, left = (int(rng.integers(0, side, endpoint=True)) for side in room)
  window = np.s_[top : top + size[0], left : left + size[1]]
  return image[window], alpha[window]


def _resize(alpha: Alpha, size: Size) -> Alpha:
  return cv2.resize(alpha, size[::-1])
