"""Reads photographs, and cuts views of them."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from data_pipelines.common import images
from data_pipelines.loading import crops
from data_pipelines.sources import ImageSource
from sapiens2_jax.report.photographs import Credit, credit

Pixels = UInt8[np.ndarray, "h w 3"]
Pictures = UInt8[np.ndarray, "n h w 3"]


@dataclasses.dataclass(frozen=True)
class Photograph:
  """A decoded photograph and what its record says of it."""

  index: int  # number of the record in its source
  image: Pixels  # upright, possibly decoded smaller than the original
  size: tuple[int, int]  # (height, width) of the original in pixels
  credit: Credit = ("", "", "", "")  # whom it is by


def read(
  source: ImageSource, indices: list[int], **limits
) -> tuple[list[Photograph], list[str]]:
  """Decodes records within the limits of `decode_image`.

  Returns:
    The photographs, and one line for each that could not be decoded.
  """
  found, failed = [], []
  for index in indices:
    try:
      record = source[index]
      image = images.decode_image(record.image, **limits)
    except images.ImageDecodeError as error:
      failed.append(f"{source.name(index)}: {error}")
      continue
    size = record.height, record.width
    found.append(Photograph(index, image, size, credit(record)))
  return found, failed


def center_box(height: int, width: int, aspect: float) -> np.ndarray:
  """The largest centred (top, left, height, width) of aspect width/height."""
  crop_height = min(height, width / aspect)
  crop_width = min(width, height * aspect)
  top, left = (height - crop_height) / 2, (width - crop_width) / 2
  return np.array([top, left, crop_height, crop_width])


def cut_center(photograph: Photograph, size: tuple[int, int]) -> Pixels:
  """The centre of a photograph at (height, width) pixels, not distorted."""
  box = center_box(*photograph.size, size[1] / size[0])
  return crops.cut(photograph.image, box, photograph.size, size)


def squeeze(photograph: Photograph, size: tuple[int, int]) -> Pixels:
  """The whole photograph at (height, width) pixels, sides scaled alone."""
  box = np.array([0, 0, *photograph.size])
  return crops.cut(photograph.image, box, photograph.size, size)


def cut_views(
  photograph: Photograph, config: crops.CropConfig, *, seed: int, epoch: int
) -> Pictures:
  """The global views of one photograph in one epoch, as training cuts them."""
  boxes, _ = crops.draw_boxes(
    *photograph.size, config, seed=seed, index=photograph.index, epoch=epoch
  )
  image, size = photograph.image, photograph.size
  views = [crops.cut(image, box, size, config.global_size) for box in boxes]
  return np.stack(views)
