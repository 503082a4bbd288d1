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

# From light to dark; drawn in between.
_SKIN_TONES = np.array(
  [
    (246, 224, 208),
    (240, 208, 185),
    (228, 188, 160),
    (212, 165, 132),
    (190, 140, 106),
    (160, 112, 82),
    (128, 86, 62),
    (98, 64, 47),
    (70, 46, 36),
    (48, 33, 28),
  ]
)
_HAIR_COLORS = np.array(
  [
    (22, 18, 17),
    (38, 28, 23),
    (62, 42, 30),
    (92, 62, 40),
    (132, 96, 60),
    (176, 140, 92),
    (214, 186, 140),
  ]
)
_RED_HAIR = np.array([(130, 58, 30), (164, 86, 44)])
_GREY_HAIR = np.array([(90, 88, 86), (140, 138, 136), (206, 204, 200)])
_IRIS_COLORS = np.array(
  [(66, 40, 24), (96, 62, 34), (110, 100, 58), (70, 100, 70), (86, 120, 150)]
)
_NEUTRALS = np.array(
  [
    (24, 24, 26),
    (60, 60, 64),
    (130, 130, 130),
    (225, 225, 220),
    (245, 244, 240),
    (32, 40, 66),
    (190, 172, 140),
    (92, 76, 58),
  ]
)
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
  """The looks of one person; first axes are in the order of `SURFACES`.

  Attributes:
    patterns: (s,) int32, indices into `patterns.NAMES`.
    colors: (s, 2, 3) float32, linear.
    scales: (s,) float32 metres, a period of the pattern; on skin how freckled
      it is, in [0, 1].
    shine: (s, 2) float32, how much and how sharp.
    folds: (s,) float32, how rough the light on cloth shows it to be.
    eyes: (2, 3) float32 metres, the centres of the left and the right eyeball
      in the standard pose.
    shift: (3,) float32 metres, where in the noise this person lies.
  """

  patterns: np.ndarray
  colors: np.ndarray
  scales: np.ndarray
  shine: np.ndarray
  folds: np.ndarray
  eyes: np.ndarray
  shift: np.ndarray


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
    folds=np.array(
      [rng.uniform(0.2, 0.9) * (name in _CLOTH) for name in SURFACES],
      np.float32,
    ),
    eyes=_find_eyes(mesh),
    shift=rng.uniform(0, 9, 3).astype(np.float32),
  )


def to_linear(srgb: np.ndarray) -> np.ndarray:
  """sRGB in [0, 255] to linear light in [0, 1]."""
  values = np.asarray(srgb) / 255
  return np.where(
    values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
  )


def to_srgb(linear: np.ndarray) -> np.ndarray:
  """Linear light in [0, 1] to sRGB in [0, 255], not rounded."""
  return 255 * np.where(
    linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055
  )


def _between(palette: np.ndarray, place: float) -> np.ndarray:
  """The colour at a place in [0, 1) of a list."""
  place *= len(palette) - 1
  first = int(place)
  return palette[first] + (place - first) * (
    palette[first + 1] - palette[first]
  )


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
