"""Images to put behind people, where a task's `task.backgrounds` names some."""

import cv2
from ml_collections import ConfigDict

from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.images import ImageDecodeError, decode_image
from data_pipelines.open_source import open_field
from data_pipelines.sources.base import ImageSource
from sapiens2_jax.fields import Field
from sapiens2_jax.tasks.base import Image, Rng, Size

NAME = "task.backgrounds"
# The reference's are not public.
FIELD = Field(
  "", "Images to put behind people, as data.path; empty: none.", source="ours"
)


def open_backgrounds(config: ConfigDict) -> ImageSource | None:
  """Raises ValueError if the field names a place without images."""
  places = config.task.backgrounds
  return open_field(NAME, places) if places else None


def draw_background(source: ImageSource, size: Size, rng: Rng) -> Image:
  """One of them, of a size: its height, cut around the middle or stretched.

  Raises:
    UnusableExample: it is no image.
  """
  index = int(rng.integers(len(source)))
  try:
    found = decode_image(source[index].image, min_size=size)
  except ImageDecodeError as error:
    raise UnusableExample(f"background: {error.reason}") from error
  return fit_background(found, size)


def fit_background(background: Image, size: Size) -> Image:
  """Resizes to the height, then cuts to the width or, if narrow, stretches."""
  height, width = size
  scaled = max(1, round(background.shape[1] * height / background.shape[0]))
  scene = cv2.resize(background, (scaled, height))
  if scaled < width:
    return cv2.resize(scene, (width, height))
  left = (scaled - width) // 2
  return scene[:, left : left + width]
