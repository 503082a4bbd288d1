"""Scorer: text that lies over an image, as far as boxes can tell."""

from __future__ import annotations

import os

import cv2
import numpy as np

from data_pipelines.curation.scorers import geometry, inference
from data_pipelines.curation.scorers.base import Image
from data_pipelines.curation.scorers.person import read_boxes

_VERSION = 1
_LONGEST = 960  # Pixels of the image that the detector sees; more cost time.
_MULTIPLE = 32
_MAP_LIMIT, _BOX_LIMIT = 0.3, 0.5  # RapidOCR's
_UNCLIP = 1.6  # RapidOCR's: the network marks the core of a line.
_MIN_SIDE = 3  # Pixels of the detector's image.
_MAX_LINES = 32  # The largest are read; enough to reject a page of text.
_HEIGHT, _WIDTHS = 48, (32, 1600)
_BLANK = 0


class TextScorer:
  """Text that is detected and that can be read as well.

  Detection alone marks fur and folds as text. The area counts outside of
  people's boxes, so that a print on a shirt is none. It cannot tell text laid
  over a photograph from a sign that stands in the scene, misses logos without
  letters, and reads Latin letters, digits and Chinese only.
  """

  name = "text"
  columns = {
    "share": "float32",  # of the image, outside of people
    "lines": "int32",  # read, outside of people
    "characters": "int32",
  }

  def __init__(
    self,
    *,
    min_score: float = 0.6,
    min_characters: int = 3,
    models: str | os.PathLike | None = None,
  ):
    self._settings = {"min_score": min_score, "min_characters": min_characters}
    self._models = models
    self._detect: inference.Run | None = None
    self._recognise: inference.Run | None = None

  def fingerprint(self) -> str:
    return inference.fingerprint(self.name, _VERSION, **self._settings)

  def load(self) -> None:
    self._detect = inference.open_model("text_detection", self._models)
    self._recognise = inference.open_model("text_recognition", self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [
      self._score_one(image, read_boxes(known))
      for image, known in zip(images, earlier)
    ]

  def _score_one(self, image: Image, people: np.ndarray) -> dict:
    size = image.shape[:2]
    read, characters = [], 0
    for corners in self._find_lines(image):
      box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
      middle = (box[:2] + box[2:]) / 2
      if any(np.all(p[:2] <= middle) & np.all(middle < p[2:]) for p in people):
        continue
      count, sure = self._read(image, corners)
      if (
        count >= self._settings["min_characters"]
        and sure >= self._settings["min_score"]
      ):
        read.append(corners)
        characters += count
    return {
      "share": polygon_share(read, size),
      "lines": len(read),
      "characters": characters,
    }

  def _find_lines(self, image: Image) -> list[np.ndarray]:
    height, width = image.shape[:2]
    scale = min(_LONGEST / max(height, width), 1.0)
    inner = [
      max(round(s * scale / _MULTIPLE), 1) * _MULTIPLE for s in (height, width)
    ]
    pixels = np.float32(geometry.shrink(image, tuple(inner))) / 127.5 - 1
    # As it was trained: blue, green, red.
    given = np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)[None])
    (heat,) = self._detect(given)
    factor = np.float32([width / inner[1], height / inner[0]])
    return [corners * factor for corners in decode_lines(heat[0, 0])]

  def _read(self, image: Image, corners: np.ndarray) -> tuple[int, float]:
    piece = cut_line(image, corners)
    pixels = np.float32(piece[..., ::-1]) / 127.5 - 1
    given = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    (steps,) = self._recognise(given)
    return decode_characters(steps[0])


def decode_lines(heat: np.ndarray) -> list[np.ndarray]:
  """Lines of text in a map of probabilities, the largest first.

  Args:
    heat: (rows, cols) in [0, 1].

  Returns:
    (4, 2) corners each, x and y in cells: left top, right top, right bottom,
    left bottom, for a line that is read from left to right.

  Source: differentiable binarisation, arXiv 1911.08947, with RapidOCR's
  limits. A rectangle grown by a distance is a rectangle again: no polygon
  library is needed.
  """
  dense = cv2.dilate(np.uint8(heat > _MAP_LIMIT), np.ones((2, 2), np.uint8))
  outlines, _ = cv2.findContours(dense, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
  found = []
  for outline in outlines:
    middle, (width, height), angle = cv2.minAreaRect(outline)
    if min(width, height) < _MIN_SIDE:
      continue
    rectangle = cv2.boxPoints((middle, (width, height), angle))
    if _mean_inside(heat, rectangle) < _BOX_LIMIT:
      continue
    grow = _UNCLIP * width * height / (width + height)
    sides = width + grow, height + grow
    corners = cv2.boxPoints((middle, sides, angle))
    found.append((sides[0] * sides[1], _order_corners(corners)))
  found.sort(key=lambda line: -line[0])
  return [corners for _, corners in found[:_MAX_LINES]]


def decode_characters(steps: np.ndarray) -> tuple[int, float]:
  """How many characters a recogniser has read, and how surely.

  Args:
    steps: (n, classes) probabilities; class 0 is no character.

  Returns:
    The count, and the mean probability of those counted, 0 of none.
  """
  best = steps.argmax(axis=1)
  new = np.concatenate([[True], best[1:] != best[:-1]]) & (best != _BLANK)
  sure = steps.max(axis=1)[new]
  return int(new.sum()), float(sure.mean()) if len(sure) else 0.0


def cut_line(image: Image, corners: np.ndarray) -> np.ndarray:
  """(48, w, 3) uint8 of a line; one that stands upright is laid down."""
  across = np.linalg.norm(corners[1] - corners[0])
  down = np.linalg.norm(corners[3] - corners[0])
  if down >= 1.5 * across:
    corners, across, down = np.roll(corners, -1, axis=0), down, across
  width = round(_HEIGHT * across / max(down, 1))
  width = int(np.clip(width, *_WIDTHS))
  target = np.float32([[0, 0], [width, 0], [width, _HEIGHT], [0, _HEIGHT]])
  matrix = cv2.getPerspectiveTransform(np.float32(corners), target)
  return cv2.warpPerspective(
    image, matrix, (width, _HEIGHT), borderMode=cv2.BORDER_REPLICATE
  )


def polygon_share(polygons: list, size: tuple[int, int]) -> float:
  """The share of an image of (height, width) that polygons cover."""
  grid = np.zeros((256, 256), np.uint8)
  factor = np.float32([grid.shape[1] / size[1], grid.shape[0] / size[0]])
  for polygon in polygons:
    cv2.fillPoly(grid, [np.int32(np.rint(polygon * factor))], 1)
  return float(grid.mean())


def _mean_inside(heat: np.ndarray, polygon: np.ndarray) -> float:
  low = np.floor(polygon.min(axis=0)).astype(int).clip(0)
  high = np.ceil(polygon.max(axis=0)).astype(int) + 1
  part = heat[low[1] : high[1], low[0] : high[0]]
  mask = np.zeros(part.shape, np.uint8)
  cv2.fillPoly(mask, [np.int32(polygon - low)], 1)
  return float(cv2.mean(part, mask)[0])


def _order_corners(corners: np.ndarray) -> np.ndarray:
  by_x = corners[np.argsort(corners[:, 0], kind="stable")]
  left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
  right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
  return np.float32([left[0], right[0], right[1], left[1]])
