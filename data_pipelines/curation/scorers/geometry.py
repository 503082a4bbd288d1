"""Boxes, and pieces of images cut out for a model.

A box is (left, top, right, bottom) in pixels, float32, boxes are (n, 4).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Square:
  """A turned square of an image, which a model sees upright."""

  center: tuple[float, float]  # x, y in pixels
  size: float  # in pixels
  angle: float = 0.0  # radians, clockwise as the image is seen


def areas(boxes: np.ndarray) -> np.ndarray:
  """(n,) in square pixels; 0 for what is turned inside out."""
  boxes = np.reshape(boxes, (-1, 4))
  return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def intersections(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """(n,) area in square pixels that a box has in common with each of n."""
  boxes = np.reshape(boxes, (-1, 4))
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  return areas(np.concatenate([low, high], axis=1))


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
  """Keeps the best of boxes that show the same thing.

  Args:
    boxes: (n, 4).
    scores: (n,).
    limit: intersection over union above which the worse one goes.

  Returns:
    Indices of those kept, best first; of equal scores the earlier.
  """
  sizes = areas(boxes)
  kept: list[int] = []
  for index in np.argsort(-scores, kind="stable"):
    common = intersections(boxes[index], boxes[kept])
    if not np.any(common > limit * (sizes[index] + sizes[kept] - common)):
      kept.append(int(index))
  return kept


def clip(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Cuts boxes off at the borders of an image of (height, width)."""
  height, width = size
  limits = np.float32([width, height, width, height])
  return np.clip(np.reshape(boxes, (-1, 4)), 0, limits).astype(np.float32)


def largest(boxes: np.ndarray) -> np.ndarray | None:
  """The box of the largest area, None of no boxes."""
  boxes = np.reshape(boxes, (-1, 4))
  return boxes[int(np.argmax(areas(boxes)))] if len(boxes) else None


def short_side(boxes: np.ndarray) -> float:
  """The shorter side of the largest box in pixels, 0 of no boxes."""
  box = largest(boxes)
  return 0.0 if box is None else float(np.min(box[2:] - box[:2]))


def union_share(boxes: np.ndarray, size: tuple[int, int]) -> float:
  """The share of an image of (height, width) that boxes cover."""
  covered = cover(boxes, size, (128, 128))
  return float(covered.mean())


def cover(
  boxes: np.ndarray, size: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray:
  """Which cells of a grid over an image have their centres in a box.

  Returns:
    bool of the shape `grid`, (rows, cols).
  """
  rows = (np.arange(grid[0]) + 0.5) * size[0] / grid[0]
  cols = (np.arange(grid[1]) + 0.5) * size[1] / grid[1]
  covered = np.zeros(grid, bool)
  for left, top, right, bottom in np.reshape(boxes, (-1, 4)):
    inside = (rows >= top) & (rows < bottom)
    covered |= inside[:, None] & ((cols >= left) & (cols < right))
  return covered


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes to (height, width); averages where pixels become fewer."""
  fewer = size[0] * size[1] < image.shape[0] * image.shape[1]
  how = cv2.INTER_AREA if fewer else cv2.INTER_LINEAR
  return cv2.resize(image, size[::-1], interpolation=how)


def letterbox(image: np.ndarray, side: int) -> tuple[np.ndarray, Square]:
  """The whole image in the middle of a black square.

  Returns:
    (side, side, 3) uint8, and the square of the image that it is.
  """
  height, width = image.shape[:2]
  longest = max(height, width)
  inner = [max(round(s * side / longest), 1) for s in (height, width)]
  top, left = ((side - s) // 2 for s in inner)
  square = np.zeros((side, side, 3), np.uint8)
  square[top : top + inner[0], left : left + inner[1]] = shrink(
    image, tuple(inner)
  )
  scale = longest / side
  # The middle, by what was put where: the inner image may lie half a pixel off.
  center = (side / 2 - left) * scale, (side / 2 - top) * scale
  return square, Square(center, float(longest))


def cut(image: np.ndarray, square: Square, side: int) -> np.ndarray:
  """(side, side, 3) uint8 of what lies in a square; black outside."""
  corners = np.float32([[0, 0], [side, 0], [0, side]])
  matrix = cv2.getAffineTransform(
    corners, to_image(corners, square, side).astype(np.float32)
  )
  return cv2.warpAffine(
    image, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  )


def to_image(points: np.ndarray, square: Square, side: int) -> np.ndarray:
  """From pixels of the piece that `cut` made to pixels of the image.

  Args:
    points: (n, 2) x and y, or (n, 3) with a depth, which is scaled.
    square: what was cut out.
    side: of the piece in pixels.
  """
  cos, sin = np.cos(square.angle), np.sin(square.angle)
  turn = np.array([[cos, -sin], [sin, cos]])
  scale = square.size / side
  flat = (points[:, :2] - side / 2) @ turn.T * scale + square.center
  return np.concatenate([flat, points[:, 2:] * scale], axis=1)
