"""Random changes of an image's values that leave its geometry alone.

Images are (h, w, 3) uint8 RGB; none is changed in place. Each function does
its work with the given probability, otherwise it returns the image itself.

Source: the public Sapiens2 release (its images are BGR there).
"""

from collections.abc import Callable

import cv2
import numpy as np

_LEVELS = np.arange(256, dtype=np.float64)
_INTERPOLATIONS = (
  cv2.INTER_NEAREST,
  cv2.INTER_LINEAR,
  cv2.INTER_CUBIC,
  cv2.INTER_AREA,
  cv2.INTER_LANCZOS4,
)


def distort_colors(
  image: np.ndarray, rng: np.random.Generator, *, probability: float = 1.0
) -> np.ndarray:
  """Changes brightness, contrast, saturation and hue, each half of the time.

  Brightness moves by up to 32 levels, contrast and saturation by a factor in
  [0.5, 1.5], hue by up to 36 degrees. Contrast comes second or last. Each step
  rounds down to whole levels.
  """
  if rng.random() >= probability:
    return image
  steps = [_brightness, _contrast, _saturation, _hue]
  if rng.random() < 0.5:
    steps.append(steps.pop(1))
  for step in steps:
    if rng.random() < 0.5:
      image = step(image, rng)
  return image


def resample(
  image: np.ndarray,
  rng: np.random.Generator,
  *,
  probability: float,
  factors: tuple[float, float],
) -> np.ndarray:
  """Shrinks by a factor and enlarges again, by interpolations of any kind.

  Args:
    image: see module.
    rng: drawn from.
    probability: of doing so.
    factors: range of the first size over the old one, uniform.
  """
  if rng.random() >= probability:
    return image
  height, width = image.shape[:2]
  factor = rng.uniform(*factors)
  size = (max(1, round(width * factor)), max(1, round(height * factor)))
  first, second = rng.integers(0, len(_INTERPOLATIONS), 2)
  small = cv2.resize(image, size, interpolation=_INTERPOLATIONS[first])
  return cv2.resize(
    small, (width, height), interpolation=_INTERPOLATIONS[second]
  )


def blur(
  image: np.ndarray, rng: np.random.Generator, *, probability: float
) -> np.ndarray:
  """Gaussian blur of 3 x 3 pixels, sigma uniform in [0.1, 2.0]."""
  if rng.random() >= probability:
    return image
  return cv2.GaussianBlur(image, (3, 3), rng.uniform(0.1, 2.0))


def add_noise(
  image: np.ndarray, rng: np.random.Generator, *, probability: float
) -> np.ndarray:
  """Gaussian noise, independent per value, variance uniform in [5, 20]."""
  if rng.random() >= probability:
    return image
  noise = rng.standard_normal(image.shape, np.float32)
  noise *= np.float32(np.sqrt(rng.uniform(5.0, 20.0)))
  return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def solarize(
  image: np.ndarray, rng: np.random.Generator, *, probability: float
) -> np.ndarray:
  """Inverts values above 128."""
  if rng.random() >= probability:
    return image
  return cv2.LUT(
    image, np.where(_LEVELS > 128, 255 - _LEVELS, _LEVELS).astype(np.uint8)
  )


def compress(
  image: np.ndarray,
  rng: np.random.Generator,
  *,
  probability: float,
  quality: tuple[int, int],
) -> np.ndarray:
  """Leaves the marks of JPEG, its quality uniform in a range, both ends in."""
  if rng.random() >= probability:
    return image
  settings = [
    cv2.IMWRITE_JPEG_QUALITY,
    int(rng.integers(*quality, endpoint=True)),
  ]
  # Encoder and decoder exchange red and blue alike: JPEG sees RGB.
  data = cv2.imencode(".jpg", image[..., ::-1], settings)[1]
  return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _levels(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
  """The table of a function of one level, cut to 0..255 and rounded down."""
  return np.clip(function(_LEVELS), 0, 255).astype(np.uint8)


def _brightness(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return cv2.LUT(image, _levels(lambda v: v + rng.uniform(-32, 32)))


def _contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return cv2.LUT(image, _levels(lambda v: v * rng.uniform(0.5, 1.5)))


def _saturation(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return _in_hsv(image, 1, _levels(lambda v: v * rng.uniform(0.5, 1.5)))


def _hue(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  # OpenCV's 180 steps of two degrees.
  shift = rng.integers(-18, 18, endpoint=True)
  return _in_hsv(image, 0, _levels(lambda v: (v + shift) % 180))


def _in_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
  hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
  hsv[..., channel] = cv2.LUT(hsv[..., channel], table)
  return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
