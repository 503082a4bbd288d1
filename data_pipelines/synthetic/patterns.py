"""What a material looks like at one place; compiled, for each pixel.

Places are those of the standard pose in metres. Patterns are solid: they go
through the body like the rings through wood, so they need no texture map.
"""

from __future__ import annotations

import math

import numpy as np

from data_pipelines.synthetic.compiling import compiled, inlined

NAMES = (
  "plain",
  "skin",
  "strands",
  "eye",
  "rings",
  "stripes",
  "checks",
  "dots",
  "blotches",
  "denim",
)
(
  _PLAIN,
  _SKIN,
  _STRANDS,
  _EYE,
  _RINGS,
  _STRIPES,
  _CHECKS,
  _DOTS,
  _BLOTCHES,
  _DENIM,
) = range(len(NAMES))
_IRIS, _PUPIL = 0.36, 0.18  # sines of angles, seen from the eyeball's centre


@compiled
def noise_at(noise, x, y, z):
  """Smooth noise in [0, 1] of period 1 / len(noise), a power of two."""
  last = np.uintp(len(noise) - 1)
  left, top, front = math.floor(x), math.floor(y), math.floor(z)
  u, v, w = x - left, y - top, z - front
  # Unsigned: NumPy's counting from the end costs a test each.
  i = np.uintp(np.intp(left)) & last
  j = np.uintp(np.intp(top)) & last
  k = np.uintp(np.intp(front)) & last
  one = np.uintp(1)
  i1, j1, k1 = (i + one) & last, (j + one) & last, (k + one) & last
  # From corner to corner along z, then y, then x.
  a = noise[i, j, k] + (noise[i, j, k1] - noise[i, j, k]) * w
  b = noise[i, j1, k] + (noise[i, j1, k1] - noise[i, j1, k]) * w
  c = noise[i1, j, k] + (noise[i1, j, k1] - noise[i1, j, k]) * w
  d = noise[i1, j1, k] + (noise[i1, j1, k1] - noise[i1, j1, k]) * w
  a += (b - a) * v
  c += (d - c) * v
  return a + (c - a) * u


@inlined
def _wave(x):
  """A square wave of period 1 with edges a tenth wide, in [0, 1]."""
  x -= math.floor(x)
  return min(max(5.5 - abs(x - 0.5) * 20, 0.0), 1.0)


@compiled
def paint(pattern, scale, place, eyes, person, shift, noise):
  """Evaluates a pattern; see `materials.Materials` for its parameters.

  Returns:
    How much of the second colour, in [0, 1], and how bright, about 1.
  """
  x, y, z = place
  a, b, c = x + shift[0], y + shift[1], z + shift[2]
  if pattern == _SKIN:
    blood = noise_at(noise, a * 14, b * 14, c * 14)
    fine = noise_at(noise, a * 350, b * 350, c * 350)
    spots = noise_at(noise, a * 320, b * 320, c * 320)
    dark = min(max((spots - 0.7) * 8, 0.0), 1.0) * scale
    return 0.8 * blood, (0.97 + 0.06 * fine) * (1 - 0.18 * dark)
  if pattern == _STRANDS:
    strand = noise_at(noise, a * 600, b * 25, c * 600)
    lock = noise_at(noise, a * 70, b * 9, c * 70)
    return 0.6 * strand + 0.4 * lock, 0.8 + 0.4 * strand
  if pattern == _EYE:
    side = 0 if x > 0 else 1
    dx, dy, dz = (
      x - eyes[person, side, 0],
      y - eyes[person, side, 1],
      z - eyes[person, side, 2],
    )
    away = math.sqrt(dx * dx + dy * dy)
    sine = away / max(math.sqrt(away * away + dz * dz), 1e-9)
    if dz < 0 or sine > _IRIS:
      return 0.0, 1.0
    if sine < _PUPIL:
      return 1.0, 0.05
    ray = noise_at(noise, dx / away * 9 + 16, dy / away * 9 + 16, shift[0])
    rim = min((_IRIS - sine) * 25, 1.0)  # The iris is dark at its edge.
    return 1.0, (0.6 + 0.8 * ray) * (0.35 + 0.65 * rim)
  fine = noise_at(noise, a * 500, b * 500, c * 500)
  bright = 0.93 + 0.14 * fine
  around = x + z  # Of both, so that no side of a body lies along a stripe.
  if pattern == _RINGS:
    return _wave(y / scale), bright
  if pattern == _STRIPES:
    return _wave(around / scale), bright
  if pattern == _CHECKS:
    return 0.5 * (_wave(y / scale) + _wave(around / scale)), bright
  if pattern == _DOTS:
    u, v, w = x / scale, y / scale, z / scale
    u, v, w = u - math.floor(u), v - math.floor(v), w - math.floor(w)
    apart = (u - 0.5) ** 2 + (v - 0.5) ** 2 + (w - 0.5) ** 2
    return min(max((0.16 - apart) * 20, 0.0), 1.0), bright
  if pattern == _BLOTCHES:
    blotch = noise_at(noise, a / scale, b / scale, c / scale)
    return min(max((blotch - 0.5) * 8 + 0.5, 0.0), 1.0), bright
  if pattern == _DENIM:
    wash = noise_at(noise, a * 11, b * 6, c * 11)
    thread = noise_at(noise, a * 450, b * 150, c * 450)
    return min(max(0.8 * wash + 0.7 * thread - 0.4, 0.0), 1.0), bright
  return 0.0, bright
