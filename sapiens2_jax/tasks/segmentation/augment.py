"""Random changes of an image and the map of its body parts."""

import functools

import cv2
import numpy as np
from jaxtyping import UInt8

from data_pipelines.corpus.labels import IGNORE
from sapiens2_jax.tasks import geometric, photometric
from sapiens2_jax.tasks.backgrounds import fit_background
from sapiens2_jax.tasks.base import Image, Rng, Size

BACKGROUND_PROBABILITY = 0.8
_SCALES = (0.4, 2.0)
_CROP_PROBABILITY = 0.3
_CROP_TRIES = 10
_MAX_FRACTION = 0.75  # of one class in a crop
_BLUR_PROBABILITY = 0.3
_NOISE_PROBABILITY = 0.3
_TURN_PROBABILITY = 0.5
_ANGLE = 60.0  # degrees
_FLIP_PROBABILITY = 0.5

# Classes, 0 being the background, or 255 where not known.
Parts = UInt8[np.ndarray, "h w"]
Pair = tuple[Image, Parts]
Pairs = tuple[tuple[int, int], ...]
resize_image = functools.partial(geometric.stretch, enlarging=cv2.INTER_CUBIC)


def augment_parts(
  image: Image,
  parts: Parts,
  image_size: Size,
  rng: Rng,
  pairs: Pairs,
  background: Image | None = None,
) -> Pair:
  """Changes place, size, colours and, if one is given, the background.

  Args:
    image, parts: of any size.
    image_size: of the result.
    rng: drawn from.
    pairs: classes that a mirror image exchanges.
    background: an image without people to put behind them, of any size.

  Source: the public Sapiens2 release.
  """
  if background is not None:
    image = replace_background(image, parts, background)
  scaled = geometric.rescaled(parts.shape, image_size, rng.uniform(*_SCALES))
  image, parts = resize_image(image, scaled), resize_parts(parts, scaled)
  if rng.random() < _CROP_PROBABILITY:
    image, parts = _crop(image, parts, image_size, rng)
  image = photometric.blur(image, rng, probability=_BLUR_PROBABILITY)
  image = photometric.add_noise(image, rng, probability=_NOISE_PROBABILITY)
  if rng.random() < _TURN_PROBABILITY:
    image, parts = turn(image, parts, rng.uniform(-_ANGLE, _ANGLE))
  if rng.random() < _FLIP_PROBABILITY:
    image, parts = flip(image, parts, pairs)
  image = photometric.distort_colors(image, rng)
  return resize_image(image, image_size), resize_parts(parts, image_size)


def resize_parts(parts: Parts, image_size: Size) -> Parts:
  return cv2.resize(parts, image_size[::-1], interpolation=cv2.INTER_NEAREST)


def flip(image: Image, parts: Parts, pairs: Pairs) -> Pair:
  """The mirror image, left parts being right ones."""
  swap = np.arange(256, dtype=np.uint8)
  for left, right in pairs:
    swap[[left, right]] = right, left
  return image[:, ::-1], swap[parts[:, ::-1]]


def turn(image: Image, parts: Parts, angle: float) -> Pair:
  """Turns by degrees; what comes in is black background."""
  height, width = parts.shape
  affine = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
  size = (width, height)
  image = np.ascontiguousarray(image)
  return (
    cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR),
    cv2.warpAffine(parts, affine, size, flags=cv2.INTER_NEAREST),
  )


def replace_background(image: Image, parts: Parts, background: Image) -> Image:
  """Puts people before another background, in colours that go with it.

  The background is fitted to the image. Mean and standard deviation of the
  people's colours become those of the background (Reinhard et al., Color
  Transfer between Images, 2001).
  """
  people = parts > 0  # what is not known may be one of them
  scene = fit_background(background, parts.shape)
  mixed = np.where(people[..., None], image, scene)
  if not people.any():
    return mixed
  lab = cv2.cvtColor(mixed, cv2.COLOR_RGB2LAB)
  scene = cv2.cvtColor(scene, cv2.COLOR_RGB2LAB).reshape(-1, 3)
  found = lab[people]
  scale = scene.std(axis=0) / np.maximum(found.std(axis=0), 1e-6)
  offset = scene.mean(axis=0) - found.mean(axis=0) * scale
  # The reference takes the absolute value before it saturates.
  moved = np.rint(np.abs(found * scale + offset))
  lab[people] = np.minimum(moved, 255).astype(np.uint8)
  return np.where(
    people[..., None], cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), mixed
  )


def _crop(image: Image, parts: Parts, image_size: Size, rng: Rng) -> Pair:
  """A random piece, after ten draws whatever it shows.

  A smaller image is filled up below and on the right, black and unknown.
  """
  missing = np.maximum(np.array(image_size) - parts.shape, 0)
  if missing.any():
    padding = ((0, missing[0]), (0, missing[1]))
    image = np.pad(image, (*padding, (0, 0)))
    parts = np.pad(parts, padding, constant_values=IGNORE)
  height, width = image_size
  for _ in range(_CROP_TRIES):
    top, left = rng.integers(0, np.array(parts.shape) - image_size + 1)
    window = np.s_[top : top + height, left : left + width]
    if is_varied(parts[window]):
      break
  return image[window], parts[window]


def is_varied(parts: Parts) -> bool:
  """Two classes or more, and none is three quarters of what is known."""
  counts = np.bincount(parts[parts != IGNORE])
  return bool(
    (counts > 0).sum() > 1 and counts.max() < _MAX_FRACTION * counts.sum()
  )
