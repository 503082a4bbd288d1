"""What a camera does to light: its lens blurs a little, its sensor is noisy."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines.synthetic.compiling import compiled

_MAX_SIGMA = 0.9  # pixels of blur
_MAX_NOISE = 5.0  # levels of 255
_STARTS = 2**15  # of a row's noise in a common table


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
  height, width, colors = image.shape
  size = _STARTS + width * colors
  table = np.rint(strength * rng.standard_normal(size, np.float32))
  out = np.empty_like(image)
  _add_noise(
    image.reshape(height, -1),
    table.astype(np.int16),
    rng.integers(_STARTS, size=height),
    out.reshape(height, -1),
  )
  return out


@compiled
def _add_noise(image, table, starts, out):
  """Adds another piece of a table to each row."""
  for row in range(len(image)):
    noise = table[starts[row] :]
    for place in range(image.shape[1]):
      value = np.int16(image[row, place]) + noise[place]
      out[row, place] = min(max(value, 0), 255)
