"""Random changes of an image's values that leave its geometry alone.

No image is changed in place. Each function also takes `probability`, 1 unless
given: of doing its work; otherwise it returns the image itself.

Source: the public Sapiens2 release (its images are BGR there).
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np

from sapiens2_jax.tasks.base import Image, Rng

_LEVELS = np.arange(256, dtype=np.float64)
_NUM_INTERPOLATIONS = 5  # OpenCV's first: nearest, linear, cubic, area, Lanczos


def _by_chance(change: Callable[..., Image]) -> Callable[..., Image]:
  @functools.wraps(change)
  def maybe(image: Image, rng: Rng, *, probability: float = 1, **more) -> Image:
    return change(image, rng, **more) if rng.random() < probability else image

  return maybe


@_by_chance
def distort_colors(image: Image, rng: Rng) -> Image:
  """Changes brightness, contrast, saturation and hue, each half of the time.

  Brightness moves by up to 32 levels, contrast and saturation by a factor in
  [0.5, 1.5], hue by up to 36 degrees. Contrast comes second or last. Each step
  rounds down to whole levels.
  """
  steps = [_brightness, _contrast, _saturation, _hue]
  if rng.random() < 0.5:
    steps.append(steps.pop(1))
  for step in steps:
    if rng.random() < 0.5:
      image = step(image, rng)
  return image


@_by_chance
def resample(image: Image, rng: Rng, *, factors: tuple[float, float]) -> Image:
  """Shrinks by a factor and enlarges again, by interpolations of any kind.

  The factor is uniform in a range: the first size over the old one.
  """
  height, width = image.shape[:2]
  factor = rng.uniform(*factors)
  size = (max(1, round(width * factor)), max(1, round(height * factor)))
  first, second = rng.integers(0, _NUM_INTERPOLATIONS, 2).tolist()
  small = cv2.resize(image, size, interpolation=first)
  return cv2.resize(small, (width, height), interpolation=second)


@_by_chance
def blur(image: Image, rng: Rng) -> Image:
  """Gaussian blur of 3 x 3 pixels, sigma uniform in [0.1, 2.0]."""
  return cv2.GaussianBlur(image, (3, 3), rng.uniform(0.1, 2.0))


@_by_chance
def add_noise(image: Image, rng: Rng) -> Image:
  """Gaussian noise, independent per value, variance uniform in [5, 20]."""
  noise = rng.standard_normal(image.shape, np.float32)
  noise *= np.float32(np.sqrt(rng.uniform(5.0, 20.0)))
  return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@_by_chance
def solarize(image: Image, rng: Rng) -> Image:
  """Inverts values above 128."""
  return cv2.LUT(image, _levels(lambda v: np.where(v > 128, 255 - v, v)))


@_by_chance
def compress(image: Image, rng: Rng, *, quality: tuple[int, int]) -> Image:
  """Leaves the marks of JPEG, its quality uniform in a range, both ends in."""
  chosen = int(rng.integers(*quality, endpoint=True))
  settings = [cv2.IMWRITE_JPEG_QUALITY, chosen]
  # Encoder and decoder exchange red and blue alike: JPEG sees RGB.
  data = cv2.imencode(".jpg", image[..., ::-1], settings)[1]
  return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _levels(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
  """The table of a function of one level, cut to 0..255 and rounded down."""
  return np.clip(function(_LEVELS), 0, 255).astype(np.uint8)


def _brightness(image: Image, rng: Rng) -> Image:
  return cv2.LUT(image, _levels(lambda v: v + rng.uniform(-32, 32)))


def _contrast(image: Image, rng: Rng) -> Image:
  return cv2.LUT(image, _levels(lambda v: v * rng.uniform(0.5, 1.5)))


def _saturation(image: Image, rng: Rng) -> Image:
  return _in_hsv(image, 1, _levels(lambda v: v * rng.uniform(0.5, 1.5)))


def _hue(image: Image, rng: Rng) -> Image:
  # OpenCV's 180 steps of two degrees.
  shift = rng.integers(-18, 18, endpoint=True)
  return _in_hsv(image, 0, _levels(lambda v: (v + shift) % 180))


def _in_hsv(image: Image, channel: int, table: np.ndarray) -> Image:
  hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
  hsv[..., channel] = cv2.LUT(hsv[..., channel], table)
  return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
