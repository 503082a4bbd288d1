"""Parts of a person's mesh: cut along curves, pushed out, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numba
import numpy as np

from data_pipelines.synthetic import mesh, skeleton


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """Triangles whose vertices lie on edges of the base mesh.

  Attributes:
    first: (n,) int64 vertices of the base mesh.
    second: (n,) int64, the edges' other ends.
    share: (n,) float32, how far along the edge, 0 to 1.
    triangles: (f, 3) int64, places in the three above.
    surface: of all triangles, see `mesh.SURFACES`.
    parts: (f,) uint8 body parts.
    height: (n,) float32 metres pushed out along the normal, at rest.
    drop: (n,) float32 metres moved down, at rest.
  """

  first: np.ndarray
  second: np.ndarray
  share: np.ndarray
  triangles: np.ndarray
  surface: str
  parts: np.ndarray
  height: np.ndarray
  drop: np.ndarray

  def mix(self, values: np.ndarray) -> np.ndarray:
    """Values of the base mesh's vertices -> of the piece's."""
    share = self.share.reshape(-1, *[1] * (values.ndim - 1))
    return values[self.first] * (1 - share) + values[self.second] * share


def whole(
  triangles: np.ndarray, surface: str, parts: np.ndarray | int
) -> Piece:
  """A piece of triangles of the base mesh as they are."""
  vertices, places = np.unique(triangles, return_inverse=True)
  blank = np.zeros(len(vertices), np.float32)
  return Piece(
    vertices,
    vertices,
    blank,
    places.reshape(-1, 3),
    surface,
    np.broadcast_to(np.uint8(parts), len(triangles)),
    blank,
    blank,
  )


def cut(
  triangles: np.ndarray,
  field: np.ndarray,
  surface: str,
  part: int | np.ndarray,
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
  ends, corners = _cut(triangles, field.astype(np.float32))
  # One vertex for each edge (or corner: both ends the same) that is used.
  keys = ends[:, 0] * len(field) + ends[:, 1]
  keys, places = np.unique(keys, return_inverse=True)
  first, second = np.divmod(keys, len(field))
  rise = field[first] - field[second]
  share = np.where(rise == 0, 0, field[first] / np.where(rise == 0, 1, rise))
  parts = part
  if isinstance(part, np.ndarray):
    parts = part[corners]
  blank = np.zeros(len(keys), np.float32)
  return Piece(
    first,
    second,
    share.astype(np.float32),
    places.reshape(-1, 3),
    surface,
    np.broadcast_to(np.uint8(parts), len(places) // 3),
    blank,
    blank,
  )


@numba.njit(cache=True)
def _cut(triangles, field):
  """Corners of the triangles that remain, as edges; and whose they were."""
  ends = np.empty((6 * len(triangles), 2), np.int64)
  owners = np.empty(2 * len(triangles), np.int64)
  number = 0
  corners = np.empty((4, 2), np.int64)
  for triangle in triangles:
    size = 0
    for corner in range(3):
      here, there = triangle[corner], triangle[(corner + 1) % 3]
      if field[here] > 0:
        corners[size] = here
        size += 1
      if (field[here] > 0) != (field[there] > 0):
        corners[size, 0], corners[size, 1] = min(here, there), max(here, there)
        size += 1
    for fan in range(1, size - 1):
      for place, corner in enumerate((0, fan, fan + 1)):
        ends[3 * number + place] = corners[corner]
      owners[number] = triangle[0]
      number += 1
  return ends[: 3 * number], owners[:number]


@numba.njit(cache=True)
def find_normals(vertices, triangles):
  """(v, 3) float32 unit normals, weighted by area; up where nothing is."""
  normals = np.zeros((len(vertices), 3), np.float32)
  for triangle in triangles:
    a, b, c = (
      vertices[triangle[0]],
      vertices[triangle[1]],
      vertices[triangle[2]],
    )
    x = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
    y = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
    z = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    for corner in triangle:
      normals[corner, 0] += x
      normals[corner, 1] += y
      normals[corner, 2] += z
  for normal in normals:
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    if length > 1e-20:
      normal /= length
    else:
      normal[1] = 1.0
  return normals


@dataclasses.dataclass(frozen=True, eq=False)
class Assembly:
  """All pieces as one mesh; as `mesh.PersonMesh` names them.

  Attributes:
    vertices: (n, 3) float32 metres, posed.
    normals: (n, 3) float32.
    triangles: (f, 3) int32.
    surfaces: (f,) uint8.
    parts: (f,) uint8.
    rest: (n, 3) float32.
    uv: (n, 2) float32.
  """

  vertices: np.ndarray
  normals: np.ndarray
  triangles: np.ndarray
  surfaces: np.ndarray
  parts: np.ndarray
  rest: np.ndarray
  uv: np.ndarray


def assemble(
  pieces: Sequence[Piece],
  *,
  shape: np.ndarray,
  outward: np.ndarray,
  uv: np.ndarray,
  blended: np.ndarray,
) -> Assembly:
  """Puts pieces on a shape and into a pose.

  Args:
    pieces: each with vertices of its own.
    shape: (v, 3) metres at rest.
    outward: (v, 3) unit normals at rest.
    uv: (v, 2) of the base mesh.
    blended: (v, 3, 4) transforms, see `skeleton.blend_transforms`.
  """
  rest = []
  triangles = []
  start = 0
  for piece in pieces:
    points = piece.mix(shape)
    if piece.height.any():
      points += piece.mix(outward) * piece.height[:, None]
    points[:, 1] -= piece.drop
    rest.append(points)
    triangles.append(piece.triangles + start)
    start += len(points)
  at_rest = np.concatenate(rest)
  corners = np.concatenate(triangles).astype(np.int32)
  posed = skeleton.carry(
    at_rest,
    np.concatenate([piece.first for piece in pieces]),
    np.concatenate([piece.second for piece in pieces]),
    np.concatenate([piece.share for piece in pieces]),
    blended,
  )
  kinds = [mesh.SURFACES.index(piece.surface) for piece in pieces]
  return Assembly(
    posed,
    find_normals(posed, corners),
    corners,
    np.repeat(np.uint8(kinds), [len(piece.triangles) for piece in pieces]),
    np.concatenate([piece.parts for piece in pieces]),
    at_rest,
    np.concatenate([piece.mix(uv) for piece in pieces]),
  )
