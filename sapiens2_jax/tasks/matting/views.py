"""Augments an image together with the alpha of its people.

What a rotation or a border uncovers is white, with alpha 0.

Source: the public Sapiens2 release.
"""

import cv2
import numpy as np

from sapiens2_jax.tasks import photometric

Pair = tuple[np.ndarray, np.ndarray]


def augment(
  image: np.ndarray,
  alpha: np.ndarray,
  size: tuple[int, int],
  rng: np.random.Generator,
) -> Pair:
  """JPEG marks, cuts, a scale, a rotation, a flip and colours, by chance.

  Args:
    image: (h, w, 3) uint8 RGB.
    alpha: (h, w) uint8.
    size: (height, width) of the result.
    rng: drawn from.
  """
  image = photometric.compress(image, rng, probability=0.5, quality=(30, 60))
  if rng.random() < 0.5:
    image, alpha = crop_to_people(image, alpha, rng.uniform(0, 0.1))
  image, alpha = _scale(image, alpha, size, rng.uniform(0.4, 2.0))
  if rng.random() < 0.5:
    image, alpha = _random_crop(image, alpha, size, rng)
  if rng.random() < 0.5:
    image, alpha = rotate(image, alpha, rng.uniform(-60, 60))
  if rng.random() < 0.5:
    image, alpha = image[:, ::-1], alpha[:, ::-1]
  image = resize_to_input(np.ascontiguousarray(image), size)
  alpha = _resize(np.ascontiguousarray(alpha), size)
  return photometric.distort_colors(image, rng, probability=0.5), alpha


def resize_to_input(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """To (height, width) whatever the aspect: means if it becomes narrower."""
  narrower = size[1] < image.shape[1]
  return _resize(image, size, cv2.INTER_AREA if narrower else cv2.INTER_LINEAR)


def crop_to_people(
  image: np.ndarray, alpha: np.ndarray, padding: float
) -> Pair:
  """Cuts out all of alpha, then adds white until the aspect is as before.

  Args:
    image: (h, w, 3) uint8.
    alpha: (h, w) uint8; all 0 leaves both as they are.
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
  border = (
    more_rows // 2,
    more_rows - more_rows // 2,
    more_cols // 2,
    more_cols - more_cols // 2,
    cv2.BORDER_CONSTANT,
  )
  white = (255, 255, 255)
  return (
    cv2.copyMakeBorder(image, *border, value=white),
    cv2.copyMakeBorder(alpha, *border, value=0),
  )


def rotate(image: np.ndarray, alpha: np.ndarray, degrees: float) -> Pair:
  """Around the centre, counter-clockwise; the size stays."""
  height, width = alpha.shape
  center = ((width - 1) / 2, (height - 1) / 2)
  matrix = cv2.getRotationMatrix2D(center, degrees, 1)
  size = (width, height)
  return (
    cv2.warpAffine(image, matrix, size, borderValue=(255, 255, 255)),
    cv2.warpAffine(alpha, matrix, size, borderValue=0),
  )


def _scale(
  image: np.ndarray, alpha: np.ndarray, size: tuple[int, int], factor: float
) -> Pair:
  """As large as fits into `size` times a factor."""
  scale = factor * min(a / b for a, b in zip(size, alpha.shape))
  new = tuple(max(1, round(side * scale)) for side in alpha.shape)
  return resize_to_input(image, new), _resize(alpha, new)


def _random_crop(
  image: np.ndarray,
  alpha: np.ndarray,
  size: tuple[int, int],
  rng: np.random.Generator,
) -> Pair:
  """At most `size`, at a uniform place."""
  window = tuple(
    slice(start, start + wanted)
    for wanted, start in (
      (wanted, int(rng.integers(0, max(found - wanted, 0), endpoint=True)))
      for wanted, found in zip(size, alpha.shape)
    )
  )
  return image[window], alpha[window]


def _resize(
  array: np.ndarray,
  size: tuple[int, int],
  interpolation: int = cv2.INTER_LINEAR,
) -> np.ndarray:
  return cv2.resize(array, size[::-1], interpolation=interpolation)
