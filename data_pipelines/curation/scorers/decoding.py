"""What detectors put out, made into boxes. Pure."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines.curation.scorers import geometry

CENTERNET_SIDE, NANODET_SIDE = 512, 416
_CELL = 4  # Pixels of CenterNet's input for a cell of its heatmap.
_NUM_CLASSES, _PERSON = 80, 0  # COCO's
_BINS = 11  # NanoDet's guesses of a distance: 0 to 10 cells.


def sigmoid(values: np.ndarray) -> np.ndarray:
  """Logits to probabilities, float32."""
  return 1 / (1 + np.exp(-np.clip(values, -50, 50).astype(np.float32)))


def decode_centernet(
  heatmap: np.ndarray,
  extents: np.ndarray,
  size: tuple[int, int],
  min_score: float,
) -> tuple[np.ndarray, np.ndarray]:
  """People among the peaks of a heatmap.

  Args:
    heatmap: (rows, cols, classes), probabilities.
    extents: (rows, cols, 4), from a cell to the left, top, right and bottom
      of what has its middle there, in pixels of the input.
    size: (height, width) of the image, which was squeezed into the input.
    min_score: of a peak, which is the highest of 3 x 3 cells.

  Returns:
    (n, 4) boxes within the image and (n,) scores, best first.

  Source: arXiv 1904.07850; the four extents are those of the network's graph.
  """
  people = np.ascontiguousarray(heatmap[..., _PERSON])
  highest = cv2.dilate(people, np.ones((3, 3), np.uint8))
  rows, cols = np.nonzero((people == highest) & (people >= min_score))
  scores = people[rows, cols]
  centers = np.stack([cols, rows], axis=1) * _CELL
  reach = extents[rows, cols]
  boxes = np.concatenate([centers - reach[:, :2], centers + reach[:, 2:]], 1)
  scale = np.float32([size[1], size[0]] * 2) / CENTERNET_SIDE
  boxes = geometry.clip(boxes * scale, size)
  order = np.argsort(-scores, kind="stable")
  return boxes[order], scores[order]


def decode_nanodet(
  layers: list[np.ndarray], size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray]:
  """People among the cells of NanoDet's layers.

  Args:
    layers: (rows, cols, 80 + 4 x 11) each: logits of classes, then for left,
      top, right and bottom those of the distance from the cell's middle.
    size: (height, width) of the image, which was squeezed into the input.
    min_score: of a cell.

  Returns:
    (n, 4) boxes within the image and (n,) scores, best first, none of them
    much over another.

  Source: generalised focal loss, arXiv 2006.04388; github.com/RangiLyu/nanodet
  for the order of the channels.
  """
  boxes, scores = [], []
  for layer in layers:
    stride = NANODET_SIDE / layer.shape[0]
    people = sigmoid(layer[..., _PERSON])
    rows, cols = np.nonzero(people >= min_score)
    bins = layer[rows, cols, _NUM_CLASSES:].reshape(len(rows), 4, _BINS)
    bins = np.exp(bins - bins.max(axis=2, keepdims=True))
    reach = bins @ np.arange(_BINS) / bins.sum(axis=2) * stride
    centers = (np.stack([cols, rows], axis=1) + 0.5) * stride
    found = [centers - reach[:, :2], centers + reach[:, 2:]]
    boxes.append(np.concatenate(found, axis=1))
    scores.append(people[rows, cols])
  scale = np.float32([size[1], size[0]] * 2) / NANODET_SIDE
  boxes = geometry.clip(np.concatenate(boxes) * scale, size)
  scores = np.concatenate(scores)
  kept = geometry.suppress(boxes, scores, 0.6)
  return boxes[kept], scores[kept]


def make_anchors(side: int, layers: tuple[tuple[int, int], ...]) -> np.ndarray:
  """Middles of the cells that MediaPipe's detectors look at.

  Args:
    side: of the input in pixels.
    layers: (stride in pixels, anchors in each cell).

  Returns:
    (n, 2) x and y in pixels, row by row.
  """
  made = []
  for stride, per_cell in layers:
    count = -(-side // stride)
    middles = (np.arange(count) + 0.5) * side / count
    ys, xs = np.meshgrid(middles, middles, indexing="ij")
    cells = np.stack([xs.ravel(), ys.ravel()], axis=1)
    made.append(np.repeat(cells, per_cell, axis=0))
  return np.concatenate(made).astype(np.float32)


def decode_anchors(
  raw: np.ndarray, logits: np.ndarray, anchors: np.ndarray, min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Detections of a MediaPipe detector, in pixels of its input.

  Args:
    raw: (n, 4 + 2 k): middle, width and height, then k points; the middle
      and points as offsets from the anchor.
    logits: (n,).
    anchors: (n, 2).
    min_score: probability.

  Returns:
    (m, 4) boxes, (m, k, 2) points and (m,) scores, best first, none of them
    much over another.
  """
  scores = sigmoid(logits)
  chosen = scores >= min_score
  raw, scores, anchors = raw[chosen], scores[chosen], anchors[chosen]
  middles = raw[:, :2] + anchors
  half = raw[:, 2:4] / 2
  boxes = np.concatenate([middles - half, middles + half], axis=1)
  points = raw[:, 4:].reshape(len(raw), raw.shape[1] // 2 - 2, 2)
  points = points + anchors[:, None]
  kept = geometry.suppress(boxes, scores, 0.3)
  return boxes[kept], points[kept], scores[kept]
