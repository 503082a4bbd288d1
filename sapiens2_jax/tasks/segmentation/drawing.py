"""Pictures of body parts."""

import cv2
import numpy as np

from data_pipelines import vocabulary
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.segmentation.augment import Parts

_OPACITY = 0.5


def draw_parts(image: Image, parts: Parts) -> Image:
  """Each part's colour over the image; background is left as it is.

  What is not known is black.
  """
  palette = np.zeros((256, 3), np.uint8)
  colors = vocabulary.parts()["palette_rgb"]
  palette[: len(colors)] = colors
  mixed = cv2.addWeighted(
    np.ascontiguousarray(image), 1 - _OPACITY, palette[parts], _OPACITY, 0
  )
  return np.where((parts > 0)[..., None], mixed, image)
