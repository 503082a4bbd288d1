"""Simple signals of technical quality; none of them says what is beautiful."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines.curation.scorers import base

_VERSION = 1
_SIZE = 1024  # Long side at which all but the blocks are measured.
_BLOCK = 8  # Of JPEG.
_DARK, _BRIGHT = 8, 247  # Levels that count as black and as white.


class Quality:
  """Resolution, sharpness, exposure, colour and JPEG blocks.

  Columns:
    short_side: pixels.
    aspect: long side by short side.
    sharpness: variance of the Laplacian of the luma, levels squared, on an
      image whose long side is at most 1024 pixels.
    brightness, contrast: mean and standard deviation of the luma, [0, 255].
    dark, bright: fractions of pixels at the ends of the range.
    colour: colourfulness of Hasler and Suesstrunk (2003), 0 for grey.
    blocks: by how much luma steps at the borders of 8 x 8 blocks exceed
      those elsewhere, as a ratio; about 1 where there are none. Seen only if
      the image was not resized after its compression.
  """

  name = "quality"
  columns = {
    "short_side": "int32",
    "aspect": "float32",
    "sharpness": "float32",
    "brightness": "float32",
    "contrast": "float32",
    "dark": "float32",
    "bright": "float32",
    "colour": "float32",
    "blocks": "float32",
  }

  def fingerprint(self) -> str:
    return base.hash_settings(self.name, _VERSION)

  def load(self) -> None:
    """There is no model."""

  def score(self, images: list[base.Image], earlier: list[dict]) -> list[dict]:
    return [_measure(image) for image in images]


def _measure(image: base.Image) -> dict:
  short, long = sorted(image.shape[:2])
  blocks = _measure_blocks(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
  if long > _SIZE:
    size = [max(1, round(side * _SIZE / long)) for side in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
  luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  return {
    "short_side": short,
    "aspect": long / short,
    "sharpness": float(cv2.Laplacian(luma, cv2.CV_32F).var(dtype=np.float64)),
    "brightness": float(luma.mean()),
    "contrast": float(luma.std()),
    "dark": float((luma <= _DARK).mean()),
    "bright": float((luma >= _BRIGHT).mean()),
    "colour": _measure_colour(image),
    "blocks": blocks,
  }


def _measure_colour(image: base.Image) -> float:
  red, green, blue = (image[..., i].astype(np.float32) for i in range(3))
  first, second = red - green, (red + green) / 2 - blue
  spread, mean = (
    float(np.hypot(f(first, dtype=np.float64), f(second, dtype=np.float64)))
    for f in (np.std, np.mean)
  )
  return spread + 0.3 * mean


def _measure_blocks(luma: np.ndarray) -> float | None:
  """Compares steps at block borders with others; None: too small."""
  if min(luma.shape) < 3 * _BLOCK:
    return None
  borders = others = 0.0
  num_borders = num_others = 0
  for plane in (luma, luma.T):
    steps = cv2.absdiff(plane[1:], plane[:-1])
    means = steps.mean(axis=1, dtype=np.float64)
    is_border = np.arange(1, len(plane)) % _BLOCK == 0
    borders += means[is_border].sum()
    others += means[~is_border].sum()
    num_borders += int(is_border.sum())
    num_others += int((~is_border).sum())
  # One level in the divisor: in a flat image nothing divides nothing.
  return float((borders / num_borders + 1) / (others / num_others + 1))
