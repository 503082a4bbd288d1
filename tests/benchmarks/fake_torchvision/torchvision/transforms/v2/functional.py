"""Crops as PIL does."""

import numpy as np
import torch
from PIL import Image

_FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def resized_crop(
  image, top, left, height, width, size, *, interpolation, antialias
):
  if isinstance(image, torch.Tensor):
    image = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    box = (top, left, height, width, size)
    cropped = resized_crop(
      image, *box, interpolation=interpolation, antialias=antialias
    )
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1)
  box = (left, top, left + width, top + height)
  return image.crop(box).resize(size[::-1], _FILTERS[interpolation.value])
