"""Transforms; those that draw something leave the image as it is."""

import enum

import numpy as np
import torch


class InterpolationMode(enum.Enum):
  BILINEAR = "bilinear"
  BICUBIC = "bicubic"


class Compose:
  def __init__(self, steps):
    self._steps = steps

  def __call__(self, image):
    for step in self._steps:
      image = step(image)
    return image


class ToImage:
  def __call__(self, image):
    if isinstance(image, torch.Tensor):
      return image
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class ToDtype:
  def __init__(self, dtype, scale):
    self._dtype, self._scale = dtype, 255 if scale else 1

  def __call__(self, image):
    return image.to(self._dtype) / self._scale


class Normalize:
  def __init__(self, mean, std):
    self._mean, self._std = (
      torch.tensor(x)[:, None, None] for x in (mean, std)
    )

  def __call__(self, image):
    return (image - self._mean) / self._std


class _Unchanged:
  def __init__(self, *arguments, **options):
    pass

  def __call__(self, image):
    return image


RandomHorizontalFlip = RandomApply = ColorJitter = _Unchanged
RandomGrayscale = GaussianBlur = RandomSolarize = _Unchanged
