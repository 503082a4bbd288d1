"""What a camera does to light: its lens blurs a little, its sensor is noisy."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines.synthetic.compiling import compiled

_MAX_SIGMA = 0.9  # pixels of blur
_MAX_NOISE = 5.0  # levels of 255
_TABLE_SIZE = 1024  # a power of two


def expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
  """Blurs a rendered image slightly and adds the noise of a sensor.

  Args:
    rng: decides how much of it.
    image: (h, w, 3) uint8.

  Returns:
    (h, w, 3) uint8.
  """
  sigma = rng.uniform(0, _MAX_SIGMA)
  if sigma > 0.3:  # Less of it changes nothing.
    image = cv2.GaussianBlur(image, (5, 5), sigma)
  # Of most cameras little, of some much.
  strength = _MAX_NOISE * rng.random() ** 2
  table = rng.normal(0, strength, _TABLE_SIZE).astype(np.float32)
  out = np.empty_like(image)
  _add_noise(image, np.rint(table).astype(np.int32), rng.integers(2**32), out)
  return out


@compiled
def _add_noise(image, table, seed, out):
  """Adds numbers of a table in an order that the seed gives."""
  height, width, _ = image.shape
  mask = np.uint32(len(table) - 1)
  state = np.uint32(seed) | np.uint32(1)
  for row in range(height):
    for col in range(width):
      # xorshift: 32 bits, ten of them for each colour.
      state ^= np.uint32(state << np.uint32(13))
      state ^= state >> np.uint32(17)
      state ^= np.uint32(state << np.uint32(5))
      bits = state
      for k in range(3):
        value = np.int32(image[row, col, k]) + table[bits & mask]
        out[row, col, k] = min(max(value, 0), 255)
        bits >>= np.uint32(10)
