"""Light on surfaces: from what is seen in each pixel to its colours."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from data_pipelines.synthetic import materials as materials_lib
from data_pipelines.synthetic import raster as raster_lib
from data_pipelines.synthetic.patterns import noise_at, paint

SHADOW_SIZE = 512  # pixels a side of what the first lamp sees
_LEVELS = 4096  # of linear light, in [0, 1] and in [0, _BRIGHTEST]
_BRIGHTEST = 4.0
_KNEE = 0.8  # Brighter light is compressed, as film does.


class Surfaces(NamedTuple):
  """All triangles of a scene in the camera's coordinates; v, f, p people.

  Attributes:
    projected: (v, 3) float64, of `raster.project`.
    triangles: (f, 3) int32.
    normals: (v, 3) float32, of the labels: x right, y up, z to the camera.
    rest: (v, 3) float32 metres.
    surfaces: (f,) uint8.
    parts: (f,) uint8.
    owners: (f,) int32, which person.
  """

  projected: np.ndarray
  triangles: np.ndarray
  normals: np.ndarray
  rest: np.ndarray
  surfaces: np.ndarray
  parts: np.ndarray
  owners: np.ndarray


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


@numba.njit(cache=True)
def _dot(a, b):
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(cache=True)
def _unit(x, y, z):
  scale = 1 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
  return x * scale, y * scale, z * scale


@numba.njit(cache=True)
def _blend(rows, corners, weights):
  """Interpolates (v, 3) at a place of a triangle."""
  a, b, c = rows[corners[0]], rows[corners[1]], rows[corners[2]]
  u, v, w = weights
  return (
    a[0] * u + b[0] * v + c[0] * w,
    a[1] * u + b[1] * v + c[1] * w,
    a[2] * u + b[2] * v + c[2] * w,
  )


@numba.njit(cache=True)
def _is_seen_from_behind(projected, corners):
  a, b, c = projected[corners[0]], projected[corners[1]], projected[corners[2]]
  area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
  return area > 0  # Rows count downwards.


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def _shade(
  ids, depth, weights, intrinsics, faces, looks, lamps, srgb, film, out
):
  height, width = ids.shape
  for row in range(height):
    for col in range(width):
      face = ids[row, col]
      if face < 0:
        continue
      corners, share = faces.triangles[face], weights[row, col]
      person, surface = faces.owners[face], faces.surfaces[face]
      normal = _unit(*_blend(faces.normals, corners, share))
      if _is_seen_from_behind(faces.projected, corners):
        normal = (-normal[0], -normal[1], -normal[2])
      x, y, z = _blend(faces.rest, corners, share)
      shift = looks.shift[person]
      mix, bright = paint(
        looks.patterns[person, surface],
        looks.scales[person, surface],
        x,
        y,
        z,
        looks.eyes[person],
        shift,
        looks.noise,
      )
      out.parts[row, col] = faces.parts[face]
      out.owners[row, col] = person + 1
      for k in range(3):
        out.normal[row, col, k] = normal[k]
      folds = looks.folds[person, surface]
      if folds > 0:
        # Folds of cloth are seen in the light only; labels are the mesh's.
        a, b, c = (x + shift[0]) * 16, (y + shift[1]) * 9, (z + shift[2]) * 16
        normal = _unit(
          normal[0] + folds * (noise_at(looks.noise, a, b, c) - 0.5),
          normal[1] + folds * (noise_at(looks.noise, b, c, a) - 0.5),
          normal[2] + folds * (noise_at(looks.noise, c, a, b) - 0.5),
        )
      away = np.float64(depth[row, col])
      x = (col - intrinsics[0, 2]) / intrinsics[0, 0] * away
      y = (row - intrinsics[1, 2]) / intrinsics[1, 1] * away
      view = _unit(-x, y, away)
      up = 0.5 + 0.5 * _dot(normal, lamps.up)
      light_r = lamps.ground[0] + (lamps.sky[0] - lamps.ground[0]) * up
      light_g = lamps.ground[1] + (lamps.sky[1] - lamps.ground[1]) * up
      light_b = lamps.ground[2] + (lamps.sky[2] - lamps.ground[2]) * up
      gleam_r = gleam_g = gleam_b = 0.0
      strength, sharpness = looks.shine[person, surface]
      for k in range(len(lamps.softness)):
        to_lamp, color = lamps.directions[k], lamps.colors[k]
        facing = _dot(normal, to_lamp)
        soft = lamps.softness[k]
        shine = (facing + soft) / (1 + soft)
        if shine <= 0:
          continue
        if k == 0:
          shine *= _find_lit(lamps, x, y, away)
        light_r += shine * color[0]
        light_g += shine * color[1]
        light_b += shine * color[2]
        if strength > 0 and facing > 0:
          half = _unit(
            view[0] + to_lamp[0], view[1] + to_lamp[1], view[2] + to_lamp[2]
          )
          gleam = max(_dot(normal, half), 0.0)
          for _ in range(int(sharpness)):
            gleam *= gleam
          gleam *= strength * shine
          gleam_r += gleam * color[0]
          gleam_g += gleam * color[1]
          gleam_b += gleam * color[2]
      colors = looks.colors[person, surface]
      lights = (light_r, light_g, light_b)
      gleams = (gleam_r, gleam_g, gleam_b)
      for k in range(3):
        color = (colors[0, k] + (colors[1, k] - colors[0, k]) * mix) * bright
        color = min(max(color, 0.0), 1.0)
        out.albedo[row, col, k] = srgb[int(color * (_LEVELS - 1) + 0.5)]
        light = min((color * lights[k] + gleams[k]) / _BRIGHTEST, 1.0)
        out.image[row, col, k] = film[int(light * (_LEVELS - 1) + 0.5)]
