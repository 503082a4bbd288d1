"""Scorer: how much of the largest person is seen. Looks inside boxes only."""

from __future__ import annotations

import os

import numpy as np

from data_pipelines.curation.scorers import geometry, inference
from data_pipelines.curation.scorers.base import Image
from data_pipelines.curation.scorers.person import read_boxes

_VERSION = 1
_SIDE = 256
_MARGIN = 1.2  # The model was made for a person with something around.
_NEAR = 0.01  # Of the image's side: this near a border a box is cut off.


class MaskScorer:
  """Mask, truncation and occlusion of the largest person.

  The mask is MediaPipe's selfie segmentation, which masks cats too: so it is
  looked at inside the box of a person only. Truncation and occlusion are
  proxies by boxes alone: a person whose foot ends at the border by chance
  counts as cut off, and only other people hide anybody.
  """

  name = "mask"
  columns = {
    "share": "float32",  # of the box, masked, in [0, 1]
    "image_share": "float32",  # the same area as a share of the image
    "borders": "int32",  # of the image that the box touches, 0 to 4
    "hidden": "float32",  # share of the box that other boxes cover, in [0, 1]
  }

  def __init__(self, *, models: str | os.PathLike | None = None):
    self._models = models
    self._run: inference.Run | None = None

  def fingerprint(self) -> str:
    return inference.fingerprint(self.name, _VERSION)

  def load(self) -> None:
    self._run = inference.open_model("selfie_segmentation", self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [
      self._score_one(image, read_boxes(known))
      for image, known in zip(images, earlier)
    ]

  def _score_one(self, image: Image, boxes: np.ndarray) -> dict:
    box = geometry.largest(boxes)
    if box is None or geometry.areas(box)[0] < 1:
      return dict.fromkeys(self.columns)
    share = float(self.segment(image, box).mean())
    size = image.shape[:2]
    area = float(geometry.areas(box)[0])
    return {
      "share": share,
      "image_share": share * area / (size[0] * size[1]),
      "borders": count_borders(box, size),
      "hidden": hidden_share(box, boxes),
    }

  def segment(self, image: Image, box: np.ndarray) -> np.ndarray:
    """(rows, cols) bool of `cut_box`: where there is a person."""
    piece, inside = cut_box(image, box)
    (mask,) = self._run(np.float32(piece[None]) / 255)
    return mask[0, ..., 0][inside] > 0.5


def cut_box(
  image: Image, box: np.ndarray
) -> tuple[np.ndarray, tuple[slice, slice]]:
  """What the network sees of an image, and where in it the box lies.

  Args:
    image: (h, w, 3) uint8.
    box: (4,) left, top, right, bottom in its pixels.

  Returns:
    (256, 256, 3) uint8, and rows and columns of the box in it.
  """
  middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
  square = geometry.Square(tuple(middle), float(max(sides)) * _MARGIN)
  half = np.maximum(sides / square.size * _SIDE / 2, 0.5)
  low = np.floor(_SIDE / 2 - half).astype(int).clip(0)
  high = np.ceil(_SIDE / 2 + half).astype(int)
  inside = slice(low[1], high[1]), slice(low[0], high[0])
  return geometry.cut(image, square, _SIDE), inside


def count_borders(box: np.ndarray, size: tuple[int, int]) -> int:
  """How many borders of an image of (height, width) a box touches."""
  height, width = size
  near = np.float32([width, height, width, height]) * _NEAR
  distances = np.float32([box[0], box[1], width - box[2], height - box[3]])
  return int(np.sum(distances <= near))


def hidden_share(box: np.ndarray, boxes: np.ndarray) -> float:
  """The share of a box that others cover; at most 1, itself left out."""
  others = boxes[np.any(boxes != box, axis=1)]
  left, top, right, bottom = box
  # A grid over the box alone, as if it were an image.
  moved = others - np.float32([left, top, left, top])
  size = float(bottom - top), float(right - left)
  return float(geometry.cover(moved, size, (64, 64)).mean())
