"""Augments an image together with the matte of its people.

A matte is alpha alone, (h, w), or (h, w, 4): the people's own colours,
multiplied by alpha, and alpha.

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
Matte = UInt8[np.ndarray, "h w *c"]
Pair = tuple[Image, Matte]
_stretch = functools.partial(geometric.stretch, enlarging=cv2.INTER_LINEAR)


def alpha_of(matte: Matte) -> Alpha:
  return matte if matte.ndim == 2 else np.ascontiguousarray(matte[..., 3])


def multiply(colors: Image, alpha: Alpha) -> Image:
  """Colours times alpha, rounded."""
  return np.rint(colors * (alpha[..., None] / np.float32(255))).astype(np.uint8)


def composite(matte: UInt8[np.ndarray, "h w 4"], background: Image) -> Image:
  """Puts people before a background of their size, in linear light.

  As the reference the colours of people are made linear after they are
  multiplied by alpha; levels are rounded down.
  """
  image = np.where(matte[..., 3:] == 255, matte[..., :3], background)
  is_soft = (matte[..., 3] > 0) & (matte[..., 3] < 255)
  found, behind = matte[is_soft] / 255.0, background[is_soft] / 255.0
  light = _to_linear(found[:, :3]) + (1 - found[:, 3:]) * _to_linear(behind)
  # What is a whole level must not fall to the next by the last bit.
  levels = _to_srgb(np.minimum(light, 1)) * 255 + 1e-9
  image[is_soft] = levels.astype(np.uint8)
  return image


def _to_linear(values: np.ndarray) -> np.ndarray:
  """sRGB in [0, 1] as linear light."""
  return np.where(
    values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
  )


def _to_srgb(light: np.ndarray) -> np.ndarray:
  return np.where(
    light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
  )


def augment(image: Image, matte: Matte, size: Size, rng: Rng) -> Pair:
  """JPEG marks, cuts, a scale, a rotation, a flip and colours, by chance."""
  image = photometric.compress(image, rng, probability=0.5, quality=(30, 60))
  if rng.random() < 0.5:
    image, matte = crop_to_people(image, matte, rng.uniform(0, 0.1))
  scaled = geometric.rescaled(matte.shape[:2], size, rng.uniform(0.4, 2.0))
  image, matte = _stretch(image, scaled), _resize(matte, scaled)
  if rng.random() < 0.5:
    image, matte = _random_crop(image, matte, size, rng)
  if rng.random() < 0.5:
    image, matte = rotate(image, matte, rng.uniform(-60, 60))
  if rng.random() < 0.5:
    image, matte = image[:, ::-1], matte[:, ::-1]
  image = _stretch(np.ascontiguousarray(image), size)
  matte = _resize(np.ascontiguousarray(matte), size)
  return _distort_colors(image, matte, rng)


def _distort_colors(image: Image, matte: Matte, rng: Rng) -> Pair:
  """The same changes for the image and for the colours of its people."""
  distort = functools.partial(photometric.distort_colors, probability=0.5)
  if matte.ndim == 2:
    return distort(image, rng), matte
  alpha = alpha_of(matte)
  share = np.maximum(alpha, 1)[..., None] / np.float32(255)
  colors = np.minimum(np.rint(matte[..., :3] / share), 255).astype(np.uint8)
  # One above the other, they draw the same random numbers.
  image, colors = np.split(distort(np.concatenate([image, colors]), rng), 2)
  return image, np.dstack([multiply(colors, alpha), alpha])


def crop_to_people(image: Image, matte: Matte, padding: float) -> Pair:
  """Cuts out all of alpha, then adds white until the aspect is as before.

  Args:
    image: as it is if all of alpha is 0.
    matte: of the image.
    padding: on each side, as a fraction of the people's width.
  """
  left, top, width, height = cv2.boundingRect(alpha_of(matte))
  if not width:
    return image, matte
  more = round(padding * width)
  rows = slice(max(top - more, 0), top + height + more)
  cols = slice(max(left - more, 0), left + width + more)
  aspect = image.shape[1] / image.shape[0]
  image, matte = image[rows, cols], matte[rows, cols]
  height, width = matte.shape[:2]
  more_rows = max(round(width / aspect) - height, 0)
  more_cols = max(round(height * aspect) - width, 0)
  top, left = more_rows // 2, more_cols // 2
  around = ((top, more_rows - top), (left, more_cols - left))
  image = np.pad(image, (*around, (0, 0)), constant_values=255)
  return image, np.pad(matte, (*around, (0, 0))[: matte.ndim])


def rotate(image: Image, matte: Matte, degrees: float) -> Pair:
  """Around the centre, counter-clockwise; the size stays."""
  height, width = matte.shape[:2]
  center = ((width - 1) / 2, (height - 1) / 2)
  matrix = cv2.getRotationMatrix2D(center, degrees, 1)
  size = (width, height)
  return (
    cv2.warpAffine(image, matrix, size, borderValue=(255, 255, 255)),
    cv2.warpAffine(matte, matrix, size, borderValue=0),
  )


def _random_crop(image: Image, matte: Matte, size: Size, rng: Rng) -> Pair:
  """At most `size`, at a uniform place."""
  room = np.maximum(np.subtract(matte.shape[:2], size), 0)
  top, left = (int(rng.integers(0, side, endpoint=True)) for side in room)
  window = np.s_[top : top + size[0], left : left + size[1]]
  return image[window], matte[window]


def _resize(matte: Matte, size: Size) -> Matte:
  return cv2.resize(matte, size[::-1])
