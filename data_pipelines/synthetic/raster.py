"""Triangles to pixels: which one is seen where, and how far away it is.

The centre of the first pixel has the coordinates (0, 0). Corners are rounded
to 1/4096 pixel; from there on coverage is exact, so that triangles with a
common edge share no pixel and leave none out (top-left rule). Both sides of a
triangle are drawn.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.synthetic.compiling import compiled

NEAR = 0.05  # metres; a triangle with a nearer corner is not drawn
_STEPS = 4096  # a pixel
_NOWHERE = -(2**62)
_ON_EDGE = np.uint32(1 << 16)  # above the bits of a pixel's 16 places
_FULL = np.uint32((1 << 17) - 1)
_FARTHEST = 2**17  # pixels from the first one: keeps products in 64 bits


@dataclasses.dataclass(frozen=True, eq=False)
class Raster:
  """What is seen in each pixel.

  Attributes:
    ids: (h, w) int32, the triangle, or -1.
    depth: (h, w) float32 metres from the camera's plane; 0 without triangle.
    weights: (h, w, 3) float32, of the triangle's corners, right in
      perspective; 0 without triangle.
  """

  ids: np.ndarray
  depth: np.ndarray
  weights: np.ndarray


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
  """Camera's view of points: column, row and 1 / depth.

  Args:
    points: (v, 3) metres: x right, y down, z away from the camera.
    intrinsics: (3, 3) in pixels.

  Returns:
    (v, 3) float64; NaN for points nearer than `NEAR`.
  """
  inverse = 1 / np.where(points[:, 2] >= NEAR, points[:, 2], np.nan)
  plane = points[:, :2] * inverse[:, None]
  out = np.empty((len(points), 3))
  out[:, 0] = plane[:, 0] * intrinsics[0, 0] + intrinsics[0, 2]
  out[:, 1] = plane[:, 1] * intrinsics[1, 1] + intrinsics[1, 2]
  out[:, 2] = inverse
  return out


def rasterise(
  projected: np.ndarray, triangles: np.ndarray, size: tuple[int, int]
) -> Raster:
  """Draws triangles as a camera sees them.

  Args:
    projected: (v, 3), of `project`.
    triangles: (f, 3) int32.
    size: height and width of the image in pixels.
  """
  ids, nearness = draw_nearest(projected, triangles, size)
  depth = np.zeros(size, np.float32)
  weights = np.zeros((*size, 3), np.float32)
  _weigh(_snap(projected), projected[:, 2], triangles, ids, depth, weights)
  return Raster(ids, depth, weights)


def find_reversed(projected: np.ndarray, triangles: np.ndarray) -> np.ndarray:
  """(f,) bool: which triangles, (f, 3), are seen from their back."""
  a, b, c = (projected[triangles[:, k], :2] for k in range(3))
  b, c = b - a, c - a
  return b[:, 0] * c[:, 1] > b[:, 1] * c[:, 0]  # Rows count downwards.


def draw_nearest(
  points: np.ndarray, triangles: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the nearest triangle of each pixel.

  Args:
    points: (v, 3): column, row, and a nearness that is linear on the screen
      and above 0; triangles with a NaN are not drawn.
    triangles: (f, 3) int32.
    size: height and width in pixels.

  Returns:
    Its number, (h, w) int32, -1 for none; and its nearness, float32, or 0.
  """
  ids = np.full(size, -1, np.int32)
  nearness = np.zeros(size, np.float32)
  _draw(_snap(points), points[:, 2], triangles, ids, nearness)
  return ids, nearness


@compiled
def _snap(points):
  """(v, 2) int64 in steps; the least number for what cannot be drawn."""
  steps = np.empty((len(points), 2), np.int64)
  for i in range(len(points)):
    col, row = points[i, 0], points[i, 1]
    # Both are False for NaN.
    if abs(col) < _FARTHEST and abs(row) < _FARTHEST:
      steps[i, 0] = np.int64(np.rint(col * _STEPS))
      steps[i, 1] = np.int64(np.rint(row * _STEPS))
    else:
      steps[i, :] = _NOWHERE
  return steps


@compiled
def _edge(ax, ay, bx, by, px, py):
  """Twice the signed area; above 0 if p is on the inner side of a -> b."""
  return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@compiled
def _open(ax, ay, bx, by):
  """-1 for an edge whose own points belong to the neighbour, else 0."""
  is_top_left = by < ay or (by == ay and bx > ax)
  return 0 if is_top_left else -1


@compiled
def _draw(steps, values, triangles, ids, nearness):
  height, width = ids.shape
  for number in range(len(triangles)):
    a, b, c = triangles[number]
    ax, ay = steps[a]
    bx, by = steps[b]
    cx, cy = steps[c]
    left, right = min(ax, bx, cx), max(ax, bx, cx)
    top, bottom = min(ay, by, cy), max(ay, by, cy)
    if left == _NOWHERE:
      continue
    first_col = max(0, -(-left // _STEPS))
    last_col = min(width - 1, right // _STEPS)
    first_row = max(0, -(-top // _STEPS))
    last_row = min(height - 1, bottom // _STEPS)
    if first_col > last_col or first_row > last_row:
      continue
    area = _edge(ax, ay, bx, by, cx, cy)
    if area == 0:
      continue
    if area < 0:  # Its other side is seen.
      b, c, bx, by, cx, cy, area = c, b, cx, cy, bx, by, -area
    x, y = first_col * _STEPS, first_row * _STEPS
    row_a = _edge(bx, by, cx, cy, x, y)
    row_b = _edge(cx, cy, ax, ay, x, y)
    row_c = _edge(ax, ay, bx, by, x, y)
    open_a = _open(bx, by, cx, cy)
    open_b = _open(cx, cy, ax, ay)
    open_c = _open(ax, ay, bx, by)
    base = values[a]
    slope_b = (values[b] - base) / area
    slope_c = (values[c] - base) / area
    for row in range(first_row, last_row + 1):
      edge_a, edge_b, edge_c = row_a, row_b, row_c
      for col in range(first_col, last_col + 1):
        if (edge_a + open_a) | (edge_b + open_b) | (edge_c + open_c) >= 0:
          value = np.float32(base + edge_b * slope_b + edge_c * slope_c)
          if value > nearness[row, col]:
            nearness[row, col] = value
            ids[row, col] = number
        edge_a -= (cy - by) * _STEPS
        edge_b -= (ay - cy) * _STEPS
        edge_c -= (by - ay) * _STEPS
      row_a += (cx - bx) * _STEPS
      row_b += (ax - cx) * _STEPS
      row_c += (bx - ax) * _STEPS


@compiled
def _weigh(steps, inverse, triangles, ids, depth, weights):
  height, width = ids.shape
  for row in range(height):
    for col in range(width):
      number = ids[row, col]
      if number < 0:
        continue
      a, b, c = triangles[number]
      ax, ay = steps[a]
      bx, by = steps[b]
      cx, cy = steps[c]
      x, y = col * _STEPS, row * _STEPS
      share_a = _edge(bx, by, cx, cy, x, y) * inverse[a]
      share_b = _edge(cx, cy, ax, ay, x, y) * inverse[b]
      share_c = _edge(ax, ay, bx, by, x, y) * inverse[c]
      total = share_a + share_b + share_c
      weights[row, col, 0] = share_a / total
      weights[row, col, 1] = share_b / total
      weights[row, col, 2] = share_c / total
      depth[row, col] = _edge(ax, ay, bx, by, cx, cy) / total


def find_coverage(
  projected: np.ndarray, triangles: np.ndarray, ids: np.ndarray
) -> np.ndarray:
  """How much of each pixel the triangles cover, in sixteenths.

  Only pixels along an outline are looked at closely, at 4 x 4 places. Those
  whose centre is covered get at least 128, the others at most 127.

  Args:
    projected: (v, 3), of `project`.
    triangles: (f, 3) int32.
    ids: (h, w) int32, of `rasterise`.

  Returns:
    (h, w) uint8, 255 for all of it.
  """
  places = np.zeros(ids.shape, np.uint32)
  _mark_edges(ids, places)
  _cover(_snap(projected), triangles, places)
  alpha = np.empty(ids.shape, np.uint8)
  _count(ids, places, alpha)
  return alpha


@compiled
def _mark_edges(ids, places):
  """Sets a bit of all pixels on either side of the outline."""
  height, width = ids.shape
  for row in range(height):
    for col in range(width):
      inside = ids[row, col] >= 0
      for near_row, near_col in (
        (row, col + 1),
        (row + 1, col - 1),
        (row + 1, col),
        (row + 1, col + 1),
      ):
        if near_row < height and 0 <= near_col < width:
          if (ids[near_row, near_col] >= 0) != inside:
            places[row, col] = _ON_EDGE
            places[near_row, near_col] = _ON_EDGE


@compiled
def _count(ids, places, alpha):
  height, width = ids.shape
  for row in range(height):
    for col in range(width):
      found = places[row, col]
      covered = ids[row, col] >= 0
      if found == 0:
        alpha[row, col] = 255 if covered else 0
        continue
      count = -1  # The bit that says that this is an edge.
      while found:
        found &= found - np.uint32(1)
        count += 1
      share = (count * 255 + 8) // 16
      alpha[row, col] = max(share, 128) if covered else min(share, 127)


@compiled
def _cover(steps, triangles, places):
  height, width = places.shape
  half, step = _STEPS // 2, _STEPS // 4
  for number in range(len(triangles)):
    a, b, c = triangles[number]
    ax, ay = steps[a]
    bx, by = steps[b]
    cx, cy = steps[c]
    if min(ax, bx, cx) == _NOWHERE:
      continue
    if _edge(ax, ay, bx, by, cx, cy) < 0:
      bx, by, cx, cy = cx, cy, bx, by
    first_col = max(0, (min(ax, bx, cx) + half) // _STEPS)
    last_col = min(width - 1, (max(ax, bx, cx) + half) // _STEPS)
    first_row = max(0, (min(ay, by, cy) + half) // _STEPS)
    last_row = min(height - 1, (max(ay, by, cy) + half) // _STEPS)
    for row in range(first_row, last_row + 1):
      for col in range(first_col, last_col + 1):
        if places[row, col] == 0 or places[row, col] == _FULL:
          continue
        found = 0
        for place in range(16):
          x = col * _STEPS - half + step // 2 + step * (place % 4)
          y = row * _STEPS - half + step // 2 + step * (place // 4)
          if (
            _edge(ax, ay, bx, by, x, y)
            | _edge(bx, by, cx, cy, x, y)
            | _edge(cx, cy, ax, ay, x, y)
          ) >= 0:
            found |= 1 << place
        places[row, col] |= np.uint32(found)
