"""Light on surfaces: from what is seen in each pixel to its colours."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from data_pipelines.synthetic import materials as materials_lib
from data_pipelines.synthetic import raster as raster_lib
from data_pipelines.synthetic.compiling import compiled, inlined
from data_pipelines.synthetic.patterns import noise_at, paint

SHADOW_SIZE = 384  # pixels a side of what the first lamp sees
_LEVELS = 4096  # of linear light, in [0, 1] and in [0, _BRIGHTEST]
_BRIGHTEST = 4.0
_f = np.float32  # Of all numbers in loops, as in `patterns`.
_ZERO, _HALF, _ONE = _f(0), _f(0.5), _f(1)
_TOP, _DIM = _f(_LEVELS - 1), _f(1 / _BRIGHTEST)
_KNEE = 0.8  # Brighter light is compressed, as film does.


class Surfaces(NamedTuple):
  """All triangles of a scene in the camera's coordinates."""

  triangles: np.ndarray  # (f, 3) int32
  corners: np.ndarray  # (v, 9) float32, of `fill_corners`
  kinds: np.ndarray  # (f,) int32, rows of `Looks`
  parts: np.ndarray  # (f,) uint8
  owners: np.ndarray  # (f,) int32, which person
  is_reversed: np.ndarray  # (f,) bool, its back is seen


class Looks(NamedTuple):
  """`materials.Materials` of all people, a row for each of their surfaces."""

  patterns: np.ndarray  # (k,) int32
  colors: np.ndarray  # (k, 6) float32 linear, the first, and on to the second
  scales: np.ndarray  # (k,) float32
  shine: np.ndarray  # (k, 2) float32
  folds: np.ndarray  # (k,) float32
  eyes: np.ndarray  # (p, 2, 3) float32 metres, shifted as their person is
  noise: np.ndarray  # of `materials.make_noise`


class Lamps(NamedTuple):
  """`scene.Lights` in the frame of the normals, and the first one's shadows."""

  # (3, 3) float32: the world's vertical, the mean of sky and ground, and half
  # of what the sky has more.
  ambient: np.ndarray
  directions: np.ndarray  # (l, 3) float32
  colors: np.ndarray  # (l, 3) float32
  wraps: np.ndarray  # (l, 2) float32: light is the first + the second * cosine
  # (3, 4) float32, from the camera's coordinates to the first lamp's image;
  # nearer by what does not count as in the way.
  shadow: np.ndarray
  nearness: np.ndarray  # of that image, of `raster.draw_nearest`


class Shaded(NamedTuple):
  """Maps of a scene; 0 where nobody is."""

  image: np.ndarray  # (h, w, 3) uint8 sRGB, there the background
  albedo: np.ndarray  # (h, w, 3) uint8 sRGB
  normal: np.ndarray  # (h, w, 3) float32
  parts: np.ndarray  # (h, w) uint8
  owners: np.ndarray  # (h, w) uint8, 1 for the first person


def stack_looks(materials: list[materials_lib.Materials]) -> Looks:
  """Puts people's materials below each other for the compiled code."""

  def join(name):
    return np.concatenate([getattr(m, name) for m in materials])

  colors = join("colors")
  colors[:, 1] -= colors[:, 0]
  return Looks(
    join("patterns"),
    colors.reshape(-1, 6),
    join("scales"),
    join("shine"),
    join("folds"),
    np.stack([m.eyes + m.shift for m in materials]),
    materials_lib.make_noise(),
  )


@compiled
def fill_corners(normals, rest, turned, shift, noise, corners):
  """Writes what the pixels of a person's triangles need of their corners.

  Args:
    normals: (v, 3) float32 of the world.
    rest: (v, 3) float32 metres.
    turned: (3, 3) float32, from the world to the frame of the labels' normals.
    shift: (3,) float32 metres, where in the noise the person lies.
    noise: of `materials.make_noise`.
    corners: (v, 9) float32, written: normal, shifted place, and noise in
      [-0.5, 0.5] that folds cloth.
  """
  for i in range(len(corners)):
    for k in range(3):
      corners[i, k] = (
        normals[i, 0] * turned[0, k]
        + normals[i, 1] * turned[1, k]
        + normals[i, 2] * turned[2, k]
      )
      corners[i, 3 + k] = rest[i, k] + shift[k]
    a, b = corners[i, 3] * _f(16), corners[i, 4] * _f(9)
    c = corners[i, 5] * _f(16)
    corners[i, 6] = noise_at(noise, a, b, c) - _HALF
    corners[i, 7] = noise_at(noise, b, c, a) - _HALF
    corners[i, 8] = noise_at(noise, c, a, b) - _HALF


def cast_shadows(
  points: np.ndarray, triangles: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """What a lamp far away sees.

  Args:
    points: (v, 3) metres.
    triangles: (f, 3) int32.
    direction: (3,) unit vector towards the lamp.

  Returns:
    `shadow` and `nearness` of `Lamps`.
  """
  side = np.cross(direction, np.roll(direction, 1) + (0.1, 0.2, 0.3))
  side /= np.linalg.norm(side)
  # Right, down, and nearness: the outside of a triangle is the camera's.
  axes = np.stack([side, np.cross(side, direction), direction])
  seen = axes @ points.T
  low = seen.min(1)
  scale = (SHADOW_SIZE - 3) / (seen.max(1) - low)[:2].max()
  scales = np.array([[scale], [scale], [1]])
  seen = np.ascontiguousarray(((seen - low[:, None]) * scales + 1).T)
  size = (SHADOW_SIZE, SHADOW_SIZE)
  _, nearness = raster_lib.draw_nearest(seen, triangles, size)
  shadow = np.empty((3, 4), np.float32)
  shadow[:, :3] = axes * scales
  shadow[:, 3] = 1 - low * scales[:, 0] + (0, 0, 0.006 + 2.5 / scale)
  return shadow, nearness


def shade(
  raster: raster_lib.Raster,
  intrinsics: np.ndarray,
  surfaces: Surfaces,
  looks: Looks,
  lamps: Lamps,
  background: np.ndarray,
) -> Shaded:
  """Computes all maps of a scene, before a background of the image's size."""
  size = raster.ids.shape
  out = Shaded(
    image=background.copy(),
    albedo=np.zeros((*size, 3), np.uint8),
    normal=np.zeros((*size, 3), np.float32),
    parts=np.zeros(size, np.uint8),
    owners=np.zeros(size, np.uint8),
  )
  _shade(
    raster.ids,
    raster.depth,
    raster.weights,
    np.asarray(intrinsics, np.float32),
    surfaces,
    looks,
    lamps,
    *_tone_tables(),
    out,
  )
  return out


@functools.cache
def _tone_tables() -> tuple[np.ndarray, np.ndarray]:
  """sRGB, uint8, of levels of albedo, and of light as film shows it."""
  levels = np.linspace(0, 1, _LEVELS)
  bright = levels * _BRIGHTEST
  above = 1 - np.exp(-np.maximum(bright - _KNEE, 0) / (1 - _KNEE))
  bright = np.minimum(bright, _KNEE) + (1 - _KNEE) * above
  plain, film = (
    np.rint(materials_lib.to_srgb(light)).astype(np.uint8)
    for light in (levels, bright)
  )
  return plain, film


@inlined
def _dot(a, b):
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def _unit(vector):
  x, y, z = vector
  scale = _ONE / max(math.sqrt(x * x + y * y + z * z), _f(1e-12))
  return x * scale, y * scale, z * scale


@inlined
def _row(rows, i):
  return rows[i, 0], rows[i, 1], rows[i, 2]


@inlined
def _blend(rows, k, a, b, c, u, v, w):
  """Interpolates three columns from k at a place of a triangle."""
  return (
    rows[a, k] * u + rows[b, k] * v + rows[c, k] * w,
    rows[a, k + 1] * u + rows[b, k + 1] * v + rows[c, k + 1] * w,
    rows[a, k + 2] * u + rows[b, k + 2] * v + rows[c, k + 2] * w,
  )


@inlined
def _find_lit(lamps, x, y, z):
  """How much of the first lamp reaches a point of the camera's space."""
  to, nearness = lamps.shadow, lamps.nearness
  col = to[0, 0] * x + to[0, 1] * y + to[0, 2] * z + to[0, 3]
  row = to[1, 0] * x + to[1, 1] * y + to[1, 2] * z + to[1, 3]
  near = to[2, 0] * x + to[2, 1] * y + to[2, 2] * z + to[2, 3]
  # All of the scene is well inside.
  left, top = np.int32(col), np.int32(row)
  u, v = col - _f(left), row - _f(top)
  i, j, one = np.uintp(top), np.uintp(left), np.uintp(1)
  a = _f(nearness[i, j] < near)
  b = _f(nearness[i, j + one] < near)
  c = _f(nearness[i + one, j] < near)
  d = _f(nearness[i + one, j + one] < near)
  a += (b - a) * u
  c += (d - c) * u
  return a + (c - a) * v


@inlined
def _light(lamps, point, normal, strength, sharpness):
  """What a surface gets and what it mirrors to the camera, RGB each."""
  up = _dot(normal, _row(lamps.ambient, 0))
  red = lamps.ambient[1, 0] + lamps.ambient[2, 0] * up
  green = lamps.ambient[1, 1] + lamps.ambient[2, 1] * up
  blue = lamps.ambient[1, 2] + lamps.ambient[2, 2] * up
  gleam_red = gleam_green = gleam_blue = _ZERO
  to_eye, twice = normal, _ZERO
  if strength > 0:
    to_eye = _unit((-point[0], point[1], point[2]))
    twice = _f(2) * _dot(normal, to_eye)
  for k in range(len(lamps.wraps)):
    to_lamp = _row(lamps.directions, k)
    facing = _dot(normal, to_lamp)
    shine = lamps.wraps[k, 0] + lamps.wraps[k, 1] * facing
    if shine <= 0:
      continue
    if k == 0:
      shine *= _find_lit(lamps, point[0], point[1], point[2])
    red += shine * lamps.colors[k, 0]
    green += shine * lamps.colors[k, 1]
    blue += shine * lamps.colors[k, 2]
    gleam = twice * facing - _dot(to_eye, to_lamp)
    if strength > 0 and gleam > 0:
      for _ in range(int(sharpness)):
        gleam *= gleam
      gleam *= strength * shine
      gleam_red += gleam * lamps.colors[k, 0]
      gleam_green += gleam * lamps.colors[k, 1]
      gleam_blue += gleam * lamps.colors[k, 2]
  return (red, green, blue), (gleam_red, gleam_green, gleam_blue)


@compiled
def _shade(ids, depth, weights, camera, faces, looks, lamps, srgb, film, out):
  # Numba looks a tuple's arrays up again for each pixel.
  height, width = ids.shape
  place = np.uintp(0)
  per_col, per_row = _ONE / camera[0, 0], _ONE / camera[1, 1]
  for row in range(height):
    slope = (_f(row) - camera[1, 2]) * per_row
    for col in range(width):
      if ids[row, col] < 0:
        continue
      # Unsigned: NumPy's counting from the end costs a test each.
      face = np.uintp(ids[row, col])
      a = np.uintp(faces.triangles[face, 0])
      b = np.uintp(faces.triangles[face, 1])
      c = np.uintp(faces.triangles[face, 2])
      u, v, w = _row(weights, place)
      place += np.uintp(1)
      kind, person = np.uintp(faces.kinds[face]), np.uintp(faces.owners[face])
      normal = _unit(_blend(faces.corners, 0, a, b, c, u, v, w))
      if faces.is_reversed[face]:
        normal = (-normal[0], -normal[1], -normal[2])
      tilt = _blend(faces.corners, 6, a, b, c, u, v, w)
      mix, bright = paint(
        looks.patterns[kind],
        looks.scales[kind],
        _blend(faces.corners, 3, a, b, c, u, v, w),
        tilt[0] + _HALF,
        looks.eyes,
        person,
        looks.noise,
      )
      out.parts[row, col] = faces.parts[face]
      out.owners[row, col] = person + 1
      for k in range(3):
        out.normal[row, col, k] = normal[k]
      fold = looks.folds[kind]
      if fold > 0:  # Seen in the light only: labels are the triangles'.
        x, y, z = normal
        x, y, z = x + fold * tilt[0], y + fold * tilt[1], z + fold * tilt[2]
        normal = _unit((x, y, z))
      z = depth[row, col]
      x, y = (_f(col) - camera[0, 2]) * per_col * z, slope * z
      strength, sharpness = looks.shine[kind, 0], looks.shine[kind, 1]
      light, gleam = _light(lamps, (x, y, z), normal, strength, sharpness)
      for k in range(3):
        color = looks.colors[kind, k] + looks.colors[kind, 3 + k] * mix
        color = min(max(color * bright, _ZERO), _ONE)
        out.albedo[row, col, k] = srgb[np.uintp(color * _TOP + _HALF)]
        seen = min((color * light[k] + gleam[k]) * _DIM, _ONE)
        out.image[row, col, k] = film[np.uintp(seen * _TOP + _HALF)]
