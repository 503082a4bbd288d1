"""Parts of a person's mesh: cut along curves, pushed out, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numba
import numpy as np

from data_pipelines.synthetic import mesh, skeleton


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """Triangles whose vertices lie on triangles of the base mesh."""

  corners: np.ndarray  # (n, 3) int64, the base mesh's vertices around each
  fractions: np.ndarray  # (n, 3) float32, barycentric; 1, 0, 0 on a vertex
  triangles: np.ndarray  # (f, 3) int64, indices into the two above
  surface: str  # of all triangles, see `mesh.SURFACES`
  parts: np.ndarray  # (f,) uint8 body parts
  height: np.ndarray  # (n,) float32 metres pushed out along the normal, at rest
  drop: np.ndarray  # (n,) float32 metres moved down, at rest

  def mix(self, values: np.ndarray) -> np.ndarray:
    """Values of the base mesh's vertices -> (n, ...) of the piece's."""
    flat = values.reshape(len(values), -1)
    mixed = _mix(flat, self.corners, self.fractions)
    return mixed.reshape(-1, *values.shape[1:])

  def stand_off(self, height: np.ndarray) -> Piece:
    """The piece at (n,) metres along the normal."""
    return dataclasses.replace(self, height=height.astype(np.float32))


@numba.njit(cache=True)
def _mix(values, corners, fractions):
  mixed = np.zeros((len(corners), values.shape[1]), np.float32)
  for place in range(len(corners)):
    for corner in range(3):
      fraction = fractions[place, corner]
      if fraction != 0:
        for column in range(values.shape[1]):
          value = values[corners[place, corner], column]
          mixed[place, column] += fraction * value
  return mixed


def whole(
  triangles: np.ndarray, surface: str, parts: np.ndarray | int
) -> Piece:
  """A piece of triangles of the base mesh as they are."""
  vertices, places = _renumber(triangles)
  corners = np.repeat(vertices[:, None], 3, 1)
  fractions = np.tile(np.float32([1, 0, 0]), (len(vertices), 1))
  return attach(corners, fractions, places, surface, parts)


def attach(
  corners: np.ndarray,
  fractions: np.ndarray,
  triangles: np.ndarray,
  surface: str,
  parts: np.ndarray | int,
) -> Piece:
  """A piece on the base mesh's surface; see `Piece` for the arguments."""
  blank = np.zeros(len(corners), np.float32)
  parts = np.broadcast_to(np.uint8(parts), len(triangles))
  return Piece(corners, fractions, triangles, surface, parts, blank, blank)


def cut(
  triangles: np.ndarray, field: np.ndarray, surface: str, part: np.ndarray | int
) -> Piece:
  """Keeps what lies where a field of the base mesh is positive.

  Args:
    triangles: (f, 3) of the base mesh.
    field: (v,) of the base mesh; linear along edges.
    surface: see `mesh.SURFACES`.
    part: body part; or one for each of the base mesh's vertices, of which a
      triangle takes its first corner's.

  Returns:
    A piece at height 0, cut along the curve on which the field is 0.
  """
  field = field.astype(np.float32)
  size = len(field)
  corners, owners, crossings = _cut(triangles, field)
  # One vertex for each edge that is cut, after the base mesh's own.
  edges, places = np.unique(crossings, return_inverse=True)
  is_new = corners >= size
  corners[is_new] = size + places[corners[is_new] - size]
  first, second = np.divmod(edges, size)
  used, renumbered = _renumber(corners.reshape(-1, 3))
  is_new = used >= size
  first = np.where(is_new, np.append(first, 0)[(used - size) * is_new], used)
  second = np.where(is_new, np.append(second, 0)[(used - size) * is_new], used)
  rise = np.where(is_new, field[first] - field[second], 1)
  fraction = np.where(is_new, field[first] / rise, 0).astype(np.float32)
  parts = part[owners] if isinstance(part, np.ndarray) else part
  around = np.stack([first, second, first], 1)
  fractions = np.stack([1 - fraction, fraction, np.zeros_like(fraction)], 1)
  return attach(around, fractions, renumbered, surface, parts)


@numba.njit(cache=True)
def _cut(triangles, field):
  """Cuts triangles one by one.

  Returns:
    Three corners for each triangle that remains: a vertex, or the number of
    vertices plus an index into `crossings`; whose triangle it was; crossings:
    edges that are cut, lower vertex times the number of vertices plus higher.
  """
  size = len(field)
  corners = np.empty(6 * len(triangles), np.int64)
  owners = np.empty(2 * len(triangles), np.int64)
  crossings = np.empty(2 * len(triangles), np.int64)
  number, cuts = 0, 0
  own = np.empty(4, np.int64)
  for triangle in triangles:
    kept = 0
    for corner in range(3):
      here = np.int64(triangle[corner])
      there = np.int64(triangle[(corner + 1) % 3])
      if field[here] > 0:
        own[kept] = here
        kept += 1
      if (field[here] > 0) != (field[there] > 0):
        own[kept] = size + cuts
        crossings[cuts] = min(here, there) * size + max(here, there)
        kept += 1
        cuts += 1
    for fan in range(1, kept - 1):
      corners[3 * number] = own[0]
      corners[3 * number + 1] = own[fan]
      corners[3 * number + 2] = own[fan + 1]
      owners[number] = triangle[0]
      number += 1
  return corners[: 3 * number], owners[:number], crossings[:cuts]


@numba.njit(cache=True)
def _renumber(triangles):
  """The vertices in use, and triangles of indices into them."""
  highest = np.int64(0)
  for triangle in triangles:
    for corner in triangle:
      highest = max(highest, np.int64(corner))
  places = np.full(highest + 1, -1, np.int64)
  for triangle in triangles:
    for corner in triangle:
      places[corner] = 0
  used = np.flatnonzero(places == 0)
  places[used] = np.arange(len(used))
  renumbered = np.empty(triangles.shape, np.int64)
  for number in range(len(triangles)):
    for corner in range(3):
      renumbered[number, corner] = places[triangles[number, corner]]
  return used, renumbered


@numba.njit(cache=True)
def find_normals(vertices, triangles):
  """(v, 3) float32 unit normals, weighted by area; up where nothing is."""
  normals = np.zeros((len(vertices), 3), np.float32)
  for number in range(len(triangles)):
    i = np.uintp(triangles[number, 0])
    j = np.uintp(triangles[number, 1])
    k = np.uintp(triangles[number, 2])
    x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
    bx, by, bz = vertices[j, 0] - x, vertices[j, 1] - y, vertices[j, 2] - z
    cx, cy, cz = vertices[k, 0] - x, vertices[k, 1] - y, vertices[k, 2] - z
    x, y, z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    for corner in (i, j, k):
      normals[corner, 0] += x
      normals[corner, 1] += y
      normals[corner, 2] += z
  for place in range(len(normals)):
    x, y, z = normals[place]
    length = np.sqrt(x * x + y * y + z * z)
    if length > 1e-20:
      for axis in range(3):
        normals[place, axis] /= length
    else:
      normals[place, 1] = 1.0
  return normals


def assemble(
  pieces: Sequence[Piece],
  *,
  shape: np.ndarray,
  outward: np.ndarray,
  uv: np.ndarray,
  blended: np.ndarray,
) -> mesh.Mesh:
  """Puts pieces on a shape and into a pose.

  Args:
    pieces: each with vertices of its own.
    shape: (v, 3) metres at rest.
    outward: (v, 3) unit normals at rest.
    uv: (v, 2) of the base mesh.
    blended: (v, 3, 4) transforms, see `skeleton.blend_transforms`.
  """
  rest, triangles, start = [], [], 0
  for piece in pieces:
    points = piece.mix(shape)
    if piece.height.any():
      points += piece.mix(outward) * piece.height[:, None]
    points[:, 1] -= piece.drop
    rest.append(points)
    triangles.append(piece.triangles + start)
    start += len(points)
  at_rest = np.concatenate(rest)
  joined = np.concatenate(triangles).astype(np.int32)
  posed = skeleton.carry(
    at_rest,
    np.concatenate([piece.corners for piece in pieces]),
    np.concatenate([piece.fractions for piece in pieces]),
    blended,
  )
  kinds = [mesh.SURFACES.index(piece.surface) for piece in pieces]
  return mesh.Mesh(
    posed,
    find_normals(posed, joined),
    joined,
    np.repeat(np.uint8(kinds), [len(piece.triangles) for piece in pieces]),
    np.concatenate([piece.parts for piece in pieces]),
    at_rest,
    np.concatenate([piece.mix(uv) for piece in pieces]),
  )
