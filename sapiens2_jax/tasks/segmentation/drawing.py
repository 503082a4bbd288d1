"""Pictures of body parts."""

from collections.abc import Sequence

import cv2
import numpy as np

from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.segmentation.augment import Parts

_OPACITY = 0.5


def draw_parts(
  image: Image, parts: Parts, colors: Sequence[tuple[int, int, int]]
) -> Image:
  """Each part's colour over the image; background is left as it is.

  What is not known is black.
  """
  palette = np.zeros((256, 3), np.uint8)
  palette[: len(colors)] = colors
  mixed = cv2.addWeighted(
    np.ascontiguousarray(image), 1 - _OPACITY, palette[parts], _OPACITY, 0
  )
  return np.where((parts > 0)[..., None], mixed, image)
