"""Colours of skin, hair, eyes and cloth, computed for each pixel.

A material is a pattern, two colours and a scale; patterns are functions of
the place in the standard pose, so they move with skin and cloth. Colours are
linear RGB; the numbers of people's colours are sRGB.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from data_pipelines.synthetic import patterns
from data_pipelines.synthetic.mesh import SURFACES, PersonMesh, find_bounds

_ON_CLOTH = ("plain", "rings", "stripes", "checks", "dots", "blotches")
_CLOTH_ODDS = (0.4, 0.12, 0.1, 0.12, 0.1, 0.16)


def _palette(codes: str) -> np.ndarray:
  """(n, 3) int64 sRGB of colours as on web pages."""
  colors = np.frombuffer(bytes.fromhex(codes), np.uint8)
  return colors.reshape(-1, 3).astype(np.int64)


# From light to dark; drawn in between.
_SKIN_TONES = _palette(
  "f6e0d0 f0d0b9 e4bca0 d4a584 be8c6a a07052 80563e 62402f 462e24 30211c"
)
_HAIR_COLORS = _palette("161211 261c17 3e2a1e 5c3e28 84603c b08c5c d6ba8c")
_RED_HAIR = _palette("823a1e a4562c")
_GREY_HAIR = _palette("5a5856 8c8a88 ceccc8")
_IRIS_COLORS = _palette("422818 603e22 6e643a 466446 567896")
_NEUTRALS = _palette("18181a 3c3c40 828282 e1e1dc f5f4f0 202842 beac8c 5c4c3a")
# How much shine, and how sharp: the power is 2 ** sharpness.
_SHINE = {
  "skin": (0.08, 4),
  "lips": (0.2, 5),
  "eye": (0.9, 8),
  "teeth": (0.3, 6),
  "tongue": (0.3, 5),
  "hair": (0.12, 4),
  "brows": (0.03, 3),
  "shoe": (0.2, 5),
}
_CLOTH = ("top", "bottom", "skirt", "sock")
_NOISE_SIZE = 32  # a power of two


@dataclasses.dataclass(frozen=True, eq=False)
class Materials:
  """The looks of one person; first axes are in the order of `SURFACES`."""

  patterns: np.ndarray  # (s,) int32, indices into `patterns.NAMES`
  colors: np.ndarray  # (s, 2, 3) float32, linear
  # (s,) float32 metres, a period; of skin how freckled it is, in [0, 1].
  scales: np.ndarray
  shine: np.ndarray  # (s, 2) float32, how much and how sharp
  folds: np.ndarray  # (s,) float32, how rough light on cloth shows it to be
  # (2, 3) float32 metres, left and right eyeball's centre in the standard pose.
  eyes: np.ndarray
  shift: np.ndarray  # (3,) float32 metres, where in the noise this person lies


@functools.cache
def make_noise() -> np.ndarray:
  """A periodic cube of numbers in [0, 1], the same in every process."""
  shape = (_NOISE_SIZE,) * 3
  return np.random.default_rng(0).random(shape, np.float32)


def draw_materials(rng: np.random.Generator, mesh: PersonMesh) -> Materials:
  """Draws what a person looks like; hair, brows and lips go with the skin."""
  tone = rng.random()
  skin = _between(_SKIN_TONES, tone) * rng.normal(1, 0.02, 3)
  hair = _draw_hair(rng, tone)
  drawn = {
    "skin": ("skin", skin, skin * (1.0, 0.84, 0.8), rng.uniform(0, 1)),
    "lips": ("skin", *_draw_lips(rng, skin), 0.0),
    "eye": ("eye", (235, 230, 224), _pick(rng, _IRIS_COLORS), 0.0),
    "teeth": ("plain", (232, 222, 200), (232, 222, 200), 0.0),
    "tongue": ("skin", (190, 96, 92), (160, 80, 80), 0.0),
    "hair": ("strands", hair, hair * rng.uniform(0.35, 0.6), 0.002),
    "brows": ("strands", hair * 0.8, skin * 0.8, 0.002),
    "shoe": ("plain", _draw_color(rng), (30, 30, 30), 0.01),
  }
  for name in _CLOTH:
    drawn[name] = _draw_cloth(rng)
  if rng.random() < 0.35:
    blue = np.array([62, 84, 122]) * rng.uniform(0.5, 1.5)
    drawn["bottom"] = ("denim", blue, blue * 1.5, 0.0025)
  rows = [drawn[name] for name in SURFACES]
  colors = np.array([row[1:3] for row in rows], np.float64)
  return Materials(
    patterns=np.array([patterns.NAMES.index(row[0]) for row in rows], np.int32),
    colors=to_linear(np.clip(colors, 4, 250)).astype(np.float32),
    scales=np.array([row[3] for row in rows], np.float32),
    shine=np.array([_SHINE.get(name, (0, 0)) for name in SURFACES], np.float32),
    folds=np.float32(
      [rng.uniform(0.2, 0.9) * (name in _CLOTH) for name in SURFACES]
    ),
    eyes=_find_eyes(mesh),
    shift=rng.uniform(0, 9, 3).astype(np.float32),
  )


def to_linear(srgb: np.ndarray) -> np.ndarray:
  """sRGB in [0, 255] to linear light in [0, 1]."""
  values = np.asarray(srgb) / 255
  bright = ((values + 0.055) / 1.055) ** 2.4
  return np.where(values <= 0.04045, values / 12.92, bright)


def to_srgb(linear: np.ndarray) -> np.ndarray:
  """Linear light in [0, 1] to sRGB in [0, 255], not rounded."""
  bright = 1.055 * linear ** (1 / 2.4) - 0.055
  return 255 * np.where(linear <= 0.0031308, linear * 12.92, bright)


def _between(palette: np.ndarray, place: float) -> np.ndarray:
  """The colour at a place in [0, 1) of a list."""
  place *= len(palette) - 1
  first = int(place)
  low, high = palette[first : first + 2]
  return low + (place - first) * (high - low)


def _pick(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
  return palette[rng.integers(len(palette))] * rng.normal(1, 0.05, 3)


def _draw_hair(rng: np.random.Generator, tone: float) -> np.ndarray:
  """Fair hair for fair skin; now and then grey, rarely dyed."""
  kind = rng.random()
  if kind < 0.04:
    return _draw_vivid(rng)
  if kind < 0.16:
    return _between(_GREY_HAIR, rng.random())
  if kind < 0.22 and tone < 0.4:
    return _pick(rng, _RED_HAIR)
  return _between(_HAIR_COLORS, rng.uniform(0, max(0.95 - 1.2 * tone, 0.25)))


def _draw_vivid(rng: np.random.Generator) -> np.ndarray:
  hue, saturation = rng.uniform(0, 180), 255 * rng.uniform(0.15, 0.75)
  value = 255 * rng.uniform(0.25, 0.95)
  pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
  return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


def _draw_color(rng: np.random.Generator) -> np.ndarray:
  return _pick(rng, _NEUTRALS) if rng.random() < 0.5 else _draw_vivid(rng)


def _draw_cloth(rng: np.random.Generator) -> tuple:
  pattern = str(rng.choice(_ON_CLOTH, p=_CLOTH_ODDS))
  first, second = _draw_color(rng), _draw_color(rng)
  scale = np.exp(rng.uniform(*np.log([0.02, 0.12])))
  return pattern, first, second, scale


def _draw_lips(rng: np.random.Generator, skin: np.ndarray) -> tuple:
  lips = skin * (0.88, 0.62, 0.62)
  if rng.random() < 0.15:  # Painted.
    lips = np.array([170, 40, 56]) * rng.uniform(0.6, 1.2, 3)
  return lips, lips * (0.9, 0.8, 0.8)


def _find_eyes(mesh: PersonMesh) -> np.ndarray:
  corners = mesh.triangles[mesh.surfaces == SURFACES.index("eye")]
  places = mesh.rest[np.unique(corners)]
  centers = np.zeros((2, 3), np.float32)
  for side, chosen in enumerate((places[:, 0] > 0, places[:, 0] <= 0)):
    if chosen.any():
      low, high = find_bounds(places[chosen])
      centers[side] = (low + high) / 2
      # The cornea bulges: depth says less about the ball than its height.
      centers[side, 2] = high[2] - (high[1] - low[1]) / 2
  return centers
