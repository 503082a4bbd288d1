"""Pictures of body parts."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines import vocabulary

_OPACITY = 0.5


def draw_parts(image: np.ndarray, parts: np.ndarray) -> np.ndarray:
  """Each part's colour over the image; background is left as it is.

  Args:
    image: (h, w, 3) uint8 RGB.
    parts: (h, w) uint8; 255 is black.
  """
  palette = np.zeros((256, 3), np.uint8)
  colors = vocabulary.parts()["palette_rgb"]
  palette[: len(colors)] = colors
  mixed = cv2.addWeighted(
    np.ascontiguousarray(image), 1 - _OPACITY, palette[parts], _OPACITY, 0
  )
  return np.where((parts > 0)[..., None], mixed, image)
