"""Triangles to pixels: which one is seen where, and how far away it is.

The centre of the first pixel has the coordinates (0, 0). Corners are rounded
to 1/4096 pixel; from there on coverage is exact, so that triangles with a
common edge share no pixel and leave none out (top-left rule). Both sides of a
triangle are drawn.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from data_pipelines.synthetic.compiling import compiled, inlined

NEAR = 0.05  # metres; a triangle with a nearer corner is not drawn
_BITS = 12
_STEPS = 1 << _BITS  # a pixel
_TILE = 3  # bits of 8 pixels
_NOWHERE = -(2**31)
_ON_EDGE = np.uint32(1 << 16)  # above the bits of a pixel's 16 places
_FULL = np.uint32((1 << 17) - 1)
_FARTHEST = 2**17  # pixels from the first one: keeps products in 64 bits


@dataclasses.dataclass(frozen=True, eq=False)
class Raster:
  """What is seen in each pixel."""

  ids: np.ndarray  # (h, w) int32, the triangle, or -1
  depth: np.ndarray  # (h, w) float32 metres from the camera's plane, or 0
  # (n, 3) float32, of the triangle's corners, right in perspective; of the
  # pixels with a triangle, row by row.
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
  weights = np.empty((np.count_nonzero(ids >= 0), 3), np.float32)
  _weigh(_snap(projected), projected[:, 2], triangles, ids, depth, weights)
  return Raster(ids, depth, weights)


@compiled
def find_reversed(projected, triangles):
  """(f,) bool: which triangles, (f, 3), are seen from their back."""
  is_reversed = np.empty(len(triangles), np.bool_)
  for number in range(len(triangles)):
    a, b, c = _corners(triangles, number)
    x, y = projected[a, 0], projected[a, 1]
    b_right, b_down = projected[b, 0] - x, projected[b, 1] - y
    c_right, c_down = projected[c, 0] - x, projected[c, 1] - y
    is_reversed[number] = b_right * c_down > b_down * c_right
  return is_reversed


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
  steps, values = _snap(points), points[:, 2].astype(np.float32)
  # Backs come last: most of them are behind what faces the eye.
  hidden = np.zeros(_tile_shape(size), np.float32)
  is_back = find_reversed(points, triangles)
  fronts, backs = np.flatnonzero(~is_back), np.flatnonzero(is_back)
  _draw(steps, values, triangles, fronts, hidden, ids, nearness)
  _find_hidden(nearness, hidden)
  _draw(steps, values, triangles, backs, hidden, ids, nearness)
  return ids, nearness


@compiled
def _snap(points):
  """(v, 2) int32 in steps; the least number for what cannot be drawn."""
  steps = np.empty((len(points), 2), np.int32)
  for i in range(len(points)):
    col, row = points[i, 0], points[i, 1]
    # Both are False for NaN.
    if abs(col) < _FARTHEST and abs(row) < _FARTHEST:
      steps[i, 0] = np.int32(np.rint(col * _STEPS))
      steps[i, 1] = np.int32(np.rint(row * _STEPS))
    else:
      steps[i, :] = _NOWHERE
  return steps


@inlined
def _corners(triangles, number):
  # Unsigned: NumPy's counting from the end costs a test each.
  return (
    np.uintp(triangles[number, 0]),
    np.uintp(triangles[number, 1]),
    np.uintp(triangles[number, 2]),
  )


@inlined
def _at(steps, i):
  return np.int64(steps[i, 0]), np.int64(steps[i, 1])


@inlined
def _edge(ax, ay, bx, by, px, py):
  """Twice the signed area; above 0 if p is on the inner side of a -> b."""
  return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@inlined
def _open(ax, ay, bx, by):
  """-1 for an edge whose own points belong to the neighbour, else 0."""
  is_top_left = by < ay or (by == ay and bx > ax)
  return 0 if is_top_left else -1


@compiled
def _find_hidden(nearness, hidden):
  """Sets how near the farthest pixel of each tile is."""
  hidden[:] = np.inf
  height, width = nearness.shape
  for row in range(height):
    for col in range(width):
      tile = row >> _TILE, col >> _TILE
      hidden[tile] = min(hidden[tile], nearness[row, col])


@compiled
def _draw(steps, values, triangles, numbers, hidden, ids, nearness):
  """Draws some of the triangles.

  Args:
    steps: (v, 2), of `_snap`.
    values: (v,) float32 nearness.
    triangles: (f, 3) int32.
    numbers: (n,) which of them.
    hidden: (h / 8, w / 8) float32: what is not nearer cannot be seen there.
    ids: (h, w) int32, changed.
    nearness: (h, w) float32, changed.
  """
  height, width = ids.shape
  for number in numbers:
    a, b, c = _corners(triangles, np.uintp(number))
    ax, ay = _at(steps, a)
    bx, by = _at(steps, b)
    cx, cy = _at(steps, c)
    left, right = min(ax, bx, cx), max(ax, bx, cx)
    top, bottom = min(ay, by, cy), max(ay, by, cy)
    first_col = max(0, (left + _STEPS - 1) >> _BITS)
    last_col = min(width - 1, right >> _BITS)
    first_row = max(0, (top + _STEPS - 1) >> _BITS)
    last_row = min(height - 1, bottom >> _BITS)
    if first_col > last_col or first_row > last_row or left == _NOWHERE:
      continue
    area = _edge(ax, ay, bx, by, cx, cy)
    if area == 0:
      continue
    nearest = max(values[a], values[b], values[c])
    if not _exceeds(nearest, hidden, first_row, last_row, first_col, last_col):
      continue
    if area < 0:  # Its front is seen: rows count downwards.
      b, c, bx, by, cx, cy, area = c, b, cx, cy, bx, by, -area
    x, y = first_col << _BITS, first_row << _BITS
    row_a = _edge(bx, by, cx, cy, x, y)
    row_b = _edge(cx, cy, ax, ay, x, y)
    row_c = _edge(ax, ay, bx, by, x, y)
    # What a pixel to the right and one down add to them, and to nearness.
    right_a, right_b = (by - cy) << _BITS, (cy - ay) << _BITS
    right_c = (ay - by) << _BITS
    down_a, down_b = (cx - bx) << _BITS, (ax - cx) << _BITS
    down_c = (bx - ax) << _BITS
    per_area = 1.0 / area
    rise_b = (values[b] - values[a]) * per_area
    rise_c = (values[c] - values[a]) * per_area
    row_value = values[a] + row_b * rise_b + row_c * rise_c
    right_value = right_b * rise_b + right_c * rise_c
    down_value = down_b * rise_b + down_c * rise_c
    row_a += _open(bx, by, cx, cy)
    row_b += _open(cx, cy, ax, ay)
    row_c += _open(ax, ay, bx, by)
    per_a, per_b, per_c = -1.0 / right_a, -1.0 / right_b, -1.0 / right_c
    wide = last_col - first_col
    for row in range(first_row, last_row + 1):
      first, last = _narrow(row_a, right_a, per_a, 0, wide)
      first, last = _narrow(row_b, right_b, per_b, first, last)
      first, last = _narrow(row_c, right_c, per_c, first, last)
      edge_a = row_a + first * right_a
      edge_b = row_b + first * right_b
      edge_c = row_c + first * right_c
      value = row_value + first * right_value
      for col in range(first_col + first, first_col + last + 1):
        if (edge_a | edge_b | edge_c) >= 0:
          at = np.uintp(row), np.uintp(col)
          near = np.float32(value)
          if near > nearness[at]:
            nearness[at] = near
            ids[at] = number
        edge_a += right_a
        edge_b += right_b
        edge_c += right_c
        value += right_value
      row_a += down_a
      row_b += down_b
      row_c += down_c
      row_value += down_value


@inlined
def _exceeds(value, tiles, first_row, last_row, first_col, last_col):
  """Whether a value is above that of a tile of one of the pixels."""
  for row in range(first_row >> _TILE, (last_row >> _TILE) + 1):
    for col in range(first_col >> _TILE, (last_col >> _TILE) + 1):
      if value > tiles[row, col]:
        return True
  return False


@inlined
def _narrow(edge, step, inverse, first, last):
  """Leaves out columns on an edge's outer side, all but one to be safe."""
  if step > 0:
    first = max(first, np.int64(edge * inverse))
  elif step < 0:
    last = min(last, np.int64(edge * inverse) + 1)
  return first, last


@compiled
def _weigh(steps, inverse, triangles, ids, depth, weights):
  height, width = ids.shape
  place = np.uintp(0)
  for row in range(height):
    for col in range(width):
      number = ids[row, col]
      if number < 0:
        continue
      a, b, c = _corners(triangles, np.uintp(number))
      ax, ay = _at(steps, a)
      bx, by = _at(steps, b)
      cx, cy = _at(steps, c)
      x, y = col << _BITS, row << _BITS
      edge_a = _edge(bx, by, cx, cy, x, y)
      edge_b = _edge(cx, cy, ax, ay, x, y)
      edge_c = _edge(ax, ay, bx, by, x, y)
      fraction_a, fraction_b = edge_a * inverse[a], edge_b * inverse[b]
      fraction_c = edge_c * inverse[c]
      scale = 1.0 / (fraction_a + fraction_b + fraction_c)
      weights[place, 0] = fraction_a * scale
      weights[place, 1] = fraction_b * scale
      weights[place, 2] = fraction_c * scale
      place += np.uintp(1)
      depth[row, col] = (edge_a + edge_b + edge_c) * scale


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
  inside = (ids >= 0).astype(np.uint8)
  square = np.ones((3, 3), np.uint8)
  outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, square)
  rows, cols = np.divmod(np.flatnonzero(outline.view(bool)), ids.shape[1])
  is_off = np.ones(_tile_shape(ids.shape), bool)  # the outline
  is_off[rows >> _TILE, cols >> _TILE] = False
  places = np.multiply(outline, _ON_EDGE, dtype=np.uint32)
  _cover(_snap(projected), triangles, is_off, places)
  alpha = inside * np.uint8(255)
  count = np.bitwise_count(places[rows, cols] - _ON_EDGE)
  fraction = ((count * np.uint16(255) + 8) // 16).astype(np.uint8)
  low, high = np.minimum(fraction, 127), np.maximum(fraction, 128)
  alpha[rows, cols] = np.where(inside[rows, cols], high, low)
  return alpha


def _tile_shape(size: tuple[int, int]) -> list[int]:
  return [(side - 1 >> _TILE) + 1 for side in size]


@compiled
def _cover(steps, triangles, is_off, places):
  """Marks which of 4 x 4 places of outline's pixels are in a triangle."""
  height, width = places.shape
  half, step = _STEPS // 2, _STEPS // 4
  corner = half - step // 2  # From a pixel's centre to its last places.
  for number in range(len(triangles)):
    a, b, c = _corners(triangles, number)
    ax, ay = _at(steps, a)
    bx, by = _at(steps, b)
    cx, cy = _at(steps, c)
    left, top = min(ax, bx, cx), min(ay, by, cy)
    first_col = max(0, (left + half) >> _BITS)
    last_col = min(width - 1, (max(ax, bx, cx) + half) >> _BITS)
    first_row = max(0, (top + half) >> _BITS)
    last_row = min(height - 1, (max(ay, by, cy) + half) >> _BITS)
    if left == _NOWHERE or not _exceeds(
      True, is_off, first_row, last_row, first_col, last_col
    ):
      continue
    if _edge(ax, ay, bx, by, cx, cy) < 0:
      bx, by, cx, cy = cx, cy, bx, by
    reach_a = corner * (abs(cx - bx) + abs(cy - by))
    reach_b = corner * (abs(ax - cx) + abs(ay - cy))
    reach_c = corner * (abs(bx - ax) + abs(by - ay))
    for row in range(first_row, last_row + 1):
      for col in range(first_col, last_col + 1):
        at = np.uintp(row), np.uintp(col)
        if places[at] == 0 or places[at] == _FULL:
          continue
        x, y = col << _BITS, row << _BITS
        edge_a = _edge(bx, by, cx, cy, x, y)
        edge_b = _edge(cx, cy, ax, ay, x, y)
        edge_c = _edge(ax, ay, bx, by, x, y)
        if (edge_a + reach_a | edge_b + reach_b | edge_c + reach_c) < 0:
          continue
        if (edge_a - reach_a | edge_b - reach_b | edge_c - reach_c) >= 0:
          places[at] = _FULL
          continue
        found = 0
        for place in range(16):
          right = step * (place % 4) - corner
          down = step * (place // 4) - corner
          if (
            edge_a + (cx - bx) * down - (cy - by) * right
            | edge_b + (ax - cx) * down - (ay - cy) * right
            | edge_c + (bx - ax) * down - (by - ay) * right
          ) >= 0:
            found |= 1 << place
        places[at] |= np.uint32(found)
