"""What a material looks like at one place; compiled, for each pixel.

Places are those of the standard pose in metres. Patterns are solid: they go
through the body like the rings through wood, so they need no texture map.
"""

from __future__ import annotations

import math

import numpy as np

from data_pipelines.synthetic.compiling import compiled, inlined

NAMES = (
  *("plain", "skin", "strands", "eye", "rings"),
  *("stripes", "checks", "dots", "blotches", "denim"),
)
_PLAIN, _SKIN, _STRANDS, _EYE, _RINGS = range(5)
_STRIPES, _CHECKS, _DOTS, _BLOTCHES, _DENIM = range(5, 10)
_f = np.float32  # Of all numbers here: doubles among them cost conversions.
_ZERO, _HALF, _ONE = _f(0), _f(0.5), _f(1)
_IRIS, _PUPIL = _f(0.36), _f(0.18)  # sines of angles, seen from its centre


@compiled
def noise_at(noise, x, y, z):
  """Smooth noise in [0, 1] of period 1 / len(noise), a power of two."""
  last = np.uintp(len(noise) - 1)
  left, top, front = np.floor(x), np.floor(y), np.floor(z)
  u, v, w = x - left, y - top, z - front
  # Unsigned: NumPy's counting from the end costs a test each.
  i = np.uintp(np.int32(left)) & last
  j = np.uintp(np.int32(top)) & last
  k = np.uintp(np.int32(front)) & last
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
def _within(x):
  return min(max(x, _ZERO), _ONE)


@inlined
def _wave(x):
  """A square wave of period 1 with edges a tenth wide, in [0, 1]."""
  x -= np.floor(x)
  return _within(_f(5.5) - abs(x - _HALF) * _f(20))


@inlined
def paint(pattern, scale, place, slow, eyes, person, noise):
  """Evaluates a pattern, all in float32; see `materials.Materials`.

  Args:
    pattern: its index into `NAMES`.
    scale: of the pattern.
    place: (3,) metres, in the person's piece of the noise.
    slow: noise that changes over centimetres, in [0, 1].
    eyes: (p, 2, 3) metres, centres of eyeballs, as `place`.
    person: whose eyes.
    noise: of `materials.make_noise`.

  Returns:
    How much of the second colour, in [0, 1], and how bright, about 1.
  """
  x, y, z = place
  if pattern == _SKIN:
    fine = noise_at(noise, x * _f(350), y * _f(350), z * _f(350))
    dark = _within((fine - _f(0.7)) * _f(8)) * scale
    bright = (_f(0.97) + _f(0.06) * fine) * (_ONE - _f(0.2) * dark)
    return _f(0.8) * slow, bright
  if pattern == _STRANDS:
    strand = noise_at(noise, x * _f(600), y * _f(25), z * _f(600))
    lock = noise_at(noise, x * _f(70), y * _f(9), z * _f(70))
    return _f(0.6) * strand + _f(0.4) * lock, _f(0.8) + _f(0.4) * strand
  if pattern == _EYE:
    return _paint_eye(x, y, z, eyes, person, noise)
  fine = noise_at(noise, x * _f(500), y * _f(500), z * _f(500))
  bright = _f(0.93) + _f(0.14) * fine
  if pattern == _PLAIN:
    return _ZERO, bright
  if pattern == _DENIM:
    thread = noise_at(noise, x * _f(450), y * _f(150), z * _f(450))
    return _within(_f(0.8) * slow + _f(0.7) * thread - _f(0.4)), bright
  x, y, z = x / scale, y / scale, z / scale
  around = x + z  # Of both, so that no side of a body lies along a stripe.
  if pattern == _RINGS:
    return _wave(y), bright
  if pattern == _STRIPES:
    return _wave(around), bright
  if pattern == _CHECKS:
    return _HALF * (_wave(y) + _wave(around)), bright
  if pattern == _BLOTCHES:
    return _within((noise_at(noise, x, y, z) - _HALF) * _f(8) + _HALF), bright
  # Dots.
  u, v, w = x - np.floor(x), y - np.floor(y), z - np.floor(z)
  u, v, w = u - _HALF, v - _HALF, w - _HALF
  return _within((_f(0.16) - (u * u + v * v + w * w)) * _f(20)), bright


@inlined
def _paint_eye(x, y, z, eyes, person, noise):
  left, right = eyes[person, 0, 0], eyes[person, 1, 0]
  side = 0 if abs(x - left) < abs(x - right) else 1
  dx = x - eyes[person, side, 0]
  dy = y - eyes[person, side, 1]
  dz = z - eyes[person, side, 2]
  away = math.sqrt(dx * dx + dy * dy)
  sine = away / max(math.sqrt(away * away + dz * dz), _f(1e-9))
  if dz < 0 or sine > _IRIS:
    return _ZERO, _ONE
  if sine < _PUPIL:
    return _ONE, _f(0.05)
  ray = noise_at(noise, dx / away * _f(9), dy / away * _f(9), left)
  rim = min((_IRIS - sine) * _f(25), _ONE)  # The iris is dark at its edge.
  return _ONE, (_f(0.6) + _f(0.8) * ray) * (_f(0.35) + _f(0.65) * rim)
