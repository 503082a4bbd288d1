"""Light on surfaces: from what is seen in each pixel to its colours."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from data_pipelines.synthetic import materials as materials_lib
from data_pipelines.synthetic import raster as raster_lib
from data_pipelines.synthetic.compiling import compiled, inlined
from data_pipelines.synthetic.patterns import noise_at, paint

SHADOW_SIZE = 512  # pixels a side of what the first lamp sees
_LEVELS = 4096  # of linear light, in [0, 1] and in [0, _BRIGHTEST]
_BRIGHTEST = 4.0
_KNEE = 0.8  # Brighter light is compressed, as film does.


class Surfaces(NamedTuple):
  """All triangles of a scene in the camera's coordinates; v, f, p people.

  Attributes:
    triangles: (f, 3) int32.
    normals: (v, 3) float32, of the labels: x right, y up, z to the camera.
    rest: (v, 3) float32 metres.
    surfaces: (f,) uint8.
    parts: (f,) uint8.
    owners: (f,) int32, which person.
    is_reversed: (f,) bool, its back is seen.
  """

  triangles: np.ndarray
  normals: np.ndarray
  rest: np.ndarray
  surfaces: np.ndarray
  parts: np.ndarray
  owners: np.ndarray
  is_reversed: np.ndarray


class Looks(NamedTuple):
  """`materials.Materials` of all people, stacked, and what they share."""

  patterns: np.ndarray
  colors: np.ndarray
  scales: np.ndarray
  shine: np.ndarray
  folds: np.ndarray
  eyes: np.ndarray
  shift: np.ndarray
  noise: np.ndarray


class Lamps(NamedTuple):
  """`scene.Lights` in the frame of the normals, and the first one's shadows.

  Attributes:
    up: (3,) the world's vertical.
    sky, ground: (3,).
    directions, colors: (l, 3).
    softness: (l,).
    shadow: (3, 4), from the camera's coordinates to the first lamp's image.
    nearness: of that image, of `raster.draw_nearest`.
    bias: how much nearer only is in the way.
  """

  up: np.ndarray
  sky: np.ndarray
  ground: np.ndarray
  directions: np.ndarray
  colors: np.ndarray
  softness: np.ndarray
  shadow: np.ndarray
  nearness: np.ndarray
  bias: float


class Shaded(NamedTuple):
  """Maps of a scene; 0 where nobody is.

  Attributes:
    image: (h, w, 3) uint8 sRGB.
    albedo: (h, w, 3) uint8 sRGB.
    normal: (h, w, 3) float32.
    parts: (h, w) uint8.
    owners: (h, w) uint8, 1 for the first person.
  """

  image: np.ndarray
  albedo: np.ndarray
  normal: np.ndarray
  parts: np.ndarray
  owners: np.ndarray


def stack_looks(materials: list[materials_lib.Materials]) -> Looks:
  """Puts people's materials side by side for the compiled code."""
  names = Looks._fields[:-1]
  arrays = [np.stack([getattr(m, name) for m in materials]) for name in names]
  return Looks(*arrays, materials_lib.make_noise())


def cast_shadows(
  points: np.ndarray, triangles: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
  """What a lamp far away sees.

  Args:
    points: (v, 3) metres.
    triangles: (f, 3) int32.
    direction: (3,) unit vector towards the lamp.

  Returns:
    `shadow`, `nearness` and `bias` of `Lamps`.
  """
  side = np.cross(direction, np.roll(direction, 1) + (0.1, 0.2, 0.3))
  side /= np.linalg.norm(side)
  axes = np.stack([side, np.cross(direction, side), direction])
  seen = points @ axes.T
  low, high = seen.min(0), seen.max(0)
  scale = (SHADOW_SIZE - 3) / max(high[:2] - low[:2])
  shadow = np.zeros((3, 4))
  shadow[:, :3] = axes * np.array([scale, scale, 1])[:, None]
  shadow[:, 3] = [1 - low[0] * scale, 1 - low[1] * scale, 1 - low[2]]
  seen = points @ shadow[:, :3].T + shadow[:, 3]
  size = (SHADOW_SIZE, SHADOW_SIZE)
  _, nearness = raster_lib.draw_nearest(seen, triangles, size)
  return shadow, nearness, 0.006 + 2.5 / scale


def shade(
  raster: raster_lib.Raster,
  intrinsics: np.ndarray,
  surfaces: Surfaces,
  looks: Looks,
  lamps: Lamps,
) -> Shaded:
  """Computes all maps of a scene."""
  size = raster.ids.shape
  out = Shaded(
    image=np.zeros((*size, 3), np.uint8),
    albedo=np.zeros((*size, 3), np.uint8),
    normal=np.zeros((*size, 3), np.float32),
    parts=np.zeros(size, np.uint8),
    owners=np.zeros(size, np.uint8),
  )
  levels = np.linspace(0, 1, _LEVELS)
  bright = levels * _BRIGHTEST
  above = 1 - np.exp(-np.maximum(bright - _KNEE, 0) / (1 - _KNEE))
  bright = np.minimum(bright, _KNEE) + (1 - _KNEE) * above
  tables = [
    np.rint(materials_lib.to_srgb(light)).astype(np.uint8)
    for light in (levels, bright)
  ]
  _shade(
    raster.ids,
    raster.depth,
    raster.weights,
    np.asarray(intrinsics, np.float64),
    surfaces,
    looks,
    lamps,
    *tables,
    out,
  )
  return out


@inlined
def _dot(a, b):
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def _unit(vector):
  x, y, z = vector
  scale = 1 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
  return x * scale, y * scale, z * scale


@inlined
def _row(rows, i):
  return rows[i, 0], rows[i, 1], rows[i, 2]


@inlined
def _blend(rows, a, b, c, u, v, w):
  """Interpolates (v, 3) at a place of a triangle."""
  return (
    rows[a, 0] * u + rows[b, 0] * v + rows[c, 0] * w,
    rows[a, 1] * u + rows[b, 1] * v + rows[c, 1] * w,
    rows[a, 2] * u + rows[b, 2] * v + rows[c, 2] * w,
  )


@inlined
def _find_lit(lamps, x, y, z):
  """How much of the first lamp reaches a point of the camera's space."""
  to = lamps.shadow
  col = to[0, 0] * x + to[0, 1] * y + to[0, 2] * z + to[0, 3]
  row = to[1, 0] * x + to[1, 1] * y + to[1, 2] * z + to[1, 3]
  near = to[2, 0] * x + to[2, 1] * y + to[2, 2] * z + to[2, 3] + lamps.bias
  left, top = int(col), int(row)
  last = len(lamps.nearness) - 2
  if left < 0 or top < 0 or left > last or top > last:
    return 1.0
  u, v = col - left, row - top
  lit = 0.0
  if lamps.nearness[top, left] < near:
    lit += (1 - u) * (1 - v)
  if lamps.nearness[top, left + 1] < near:
    lit += u * (1 - v)
  if lamps.nearness[top + 1, left] < near:
    lit += (1 - u) * v
  if lamps.nearness[top + 1, left + 1] < near:
    lit += u * v
  return lit


@inlined
def _reflect(point, normal):
  """Where a mirror would send the eye's ray."""
  x, y, z = _unit((-point[0], point[1], point[2]))
  twice = 2 * (normal[0] * x + normal[1] * y + normal[2] * z)
  return twice * normal[0] - x, twice * normal[1] - y, twice * normal[2] - z


@inlined
def _light(lamps, point, normal, strength, sharpness):
  """What a surface gets and what it mirrors to the camera, RGB each."""
  up = 0.5 + 0.5 * _dot(normal, lamps.up)
  red = lamps.ground[0] + (lamps.sky[0] - lamps.ground[0]) * up
  green = lamps.ground[1] + (lamps.sky[1] - lamps.ground[1]) * up
  blue = lamps.ground[2] + (lamps.sky[2] - lamps.ground[2]) * up
  gleam_red = gleam_green = gleam_blue = 0.0
  mirrored = (0.0, 0.0, 0.0)
  if strength > 0:
    mirrored = _reflect(point, normal)
  for k in range(len(lamps.softness)):
    to_lamp = _row(lamps.directions, k)
    soft = lamps.softness[k]
    shine = (_dot(normal, to_lamp) + soft) / (1 + soft)
    if shine <= 0:
      continue
    if k == 0:
      shine *= _find_lit(lamps, point[0], point[1], point[2])
    red += shine * lamps.colors[k, 0]
    green += shine * lamps.colors[k, 1]
    blue += shine * lamps.colors[k, 2]
    gleam = _dot(mirrored, to_lamp)
    if gleam > 0:
      for _ in range(int(sharpness)):
        gleam *= gleam
      gleam *= strength * shine
      gleam_red += gleam * lamps.colors[k, 0]
      gleam_green += gleam * lamps.colors[k, 1]
      gleam_blue += gleam * lamps.colors[k, 2]
  return (red, green, blue), (gleam_red, gleam_green, gleam_blue)


@inlined
def _fold(noise, shift, place, normal, folds):
  """Tilts a normal as the folds of cloth do."""
  a = (place[0] + shift[0]) * 16
  b = (place[1] + shift[1]) * 9
  c = (place[2] + shift[2]) * 16
  return _unit(
    (
      normal[0] + folds * (noise_at(noise, a, b, c) - 0.5),
      normal[1] + folds * (noise_at(noise, b, c, a) - 0.5),
      normal[2] + folds * (noise_at(noise, c, a, b) - 0.5),
    )
  )


@compiled
def _shade(
  ids, depth, weights, intrinsics, faces, looks, lamps, srgb, film, out
):
  height, width = ids.shape
  # Of a pixel, at a distance of 1.
  width_at_1, height_at_1 = 1 / intrinsics[0, 0], 1 / intrinsics[1, 1]
  for row in range(height):
    for col in range(width):
      if ids[row, col] < 0:
        continue
      # Unsigned: NumPy's counting from the end costs a test each.
      face = np.uintp(ids[row, col])
      a = np.uintp(faces.triangles[face, 0])
      b = np.uintp(faces.triangles[face, 1])
      c = np.uintp(faces.triangles[face, 2])
      u, v, w = weights[row, col, 0], weights[row, col, 1], weights[row, col, 2]
      person = np.uintp(faces.owners[face])
      surface = np.uintp(faces.surfaces[face])
      normal = _unit(_blend(faces.normals, a, b, c, u, v, w))
      if faces.is_reversed[face]:
        normal = (-normal[0], -normal[1], -normal[2])
      place = _blend(faces.rest, a, b, c, u, v, w)
      shift = _row(looks.shift, person)
      mix, bright = paint(
        looks.patterns[person, surface],
        looks.scales[person, surface],
        place,
        looks.eyes,
        person,
        shift,
        looks.noise,
      )
      out.parts[row, col] = faces.parts[face]
      out.owners[row, col] = person + 1
      for k in range(3):
        out.normal[row, col, k] = normal[k]
      folds = looks.folds[person, surface]
      if folds > 0:  # Seen in the light only: labels are the triangles'.
        normal = _fold(looks.noise, shift, place, normal, folds)
      z = depth[row, col]
      x = (col - intrinsics[0, 2]) * width_at_1 * z
      y = (row - intrinsics[1, 2]) * height_at_1 * z
      light, gleam = _light(
        lamps,
        (x, y, z),
        normal,
        looks.shine[person, surface, 0],
        looks.shine[person, surface, 1],
      )
      for k in range(3):
        first = looks.colors[person, surface, 0, k]
        second = looks.colors[person, surface, 1, k]
        color = min(max((first + (second - first) * mix) * bright, 0.0), 1.0)
        out.albedo[row, col, k] = srgb[int(color * (_LEVELS - 1) + 0.5)]
        seen = min((color * light[k] + gleam[k]) / _BRIGHTEST, 1.0)
        out.image[row, col, k] = film[int(seen * (_LEVELS - 1) + 0.5)]
