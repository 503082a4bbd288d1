"""Scales, cuts, flips and letterboxes an image together with its labels.

Pure functions of an image and its `Labels`. Maps and intrinsics come along;
people and parts do not and are None afterwards.

Source: the public Sapiens2 release. Ours: the centre of a pixel stays the
centre of a pixel, for maps and intrinsics alike (the reference takes corners,
half a pixel off), and a crop never ends beyond the image.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image, Rng, Size

Pair = tuple[Image, Labels]
Box = tuple[int, int, int, int]  # top, left, height, width
Rounding = Callable[[float], int]

# A mean of two normals or depths is neither of them; colours may be mixed.
_INTERPOLATIONS = {
  "alpha": cv2.INTER_NEAREST_EXACT,
  "normal": cv2.INTER_NEAREST_EXACT,
  "depth": cv2.INTER_NEAREST_EXACT,
  "albedo": cv2.INTER_LINEAR,
  "extra": cv2.INTER_NEAREST_EXACT,  # Maps of other packages.
}
_NUM_TRIES = 8


@dataclasses.dataclass(frozen=True)
class Letterbox:
  """Where an image lies on a canvas, in pixels of the canvas.

  Attributes:
    original_size: (height, width) of the image before it was put there.
  """

  top: int
  left: int
  height: int
  width: int
  original_size: Size


def fit(
  original_size: Size, canvas_size: Size, rounding: Rounding = round
) -> Letterbox:
  """The largest place of the image's aspect in the middle of a canvas.

  Sizes are rounded by `round` in training, `math.floor` at test time.
  """
  scale = min(canvas / size for canvas, size in zip(canvas_size, original_size))
  height, width = (
    min(max(1, rounding(size * scale)), canvas)
    for size, canvas in zip(original_size, canvas_size)
  )
  return Letterbox(
    (canvas_size[0] - height) // 2,
    (canvas_size[1] - width) // 2,
    height,
    width,
    tuple(original_size),
  )


def letterbox(
  image: Image, labels: Labels, canvas_size: Size, rounding: Rounding = round
) -> Pair:
  """Resizes to fit a canvas, keeping aspect; black around."""
  box = fit(image.shape[:2], canvas_size, rounding)
  image, labels = resize(image, labels, (box.height, box.width))

  def pad(name: str, array: np.ndarray) -> np.ndarray:
    canvas = np.zeros((*canvas_size, *array.shape[2:]), array.dtype)
    inside(canvas, box)[...] = array
    return canvas

  move = np.array([[1, 0, box.left], [0, 1, box.top], [0, 0, 1]])
  return pad("image", image), _change(labels, image.shape[:2], pad, move)


def letterbox_labels(
  labels: Labels, canvas_size: Size, rounding: Rounding = round
) -> Labels:
  """As `letterbox`, for labels whose image nobody needs."""
  image = np.zeros((*labels.mask.shape, 3), np.uint8)
  return letterbox(image, labels, canvas_size, rounding)[1]


def resize_labels(labels: Labels, size: Size) -> Labels:
  """As `resize`, for labels whose image nobody needs."""
  image = np.zeros((*labels.mask.shape, 3), np.uint8)
  return resize(image, labels, size)[1]


def inside(array: np.ndarray, box: Letterbox) -> np.ndarray:
  """The part of a canvas (h, w, c) where the image lies."""
  rows = slice(box.top, box.top + box.height)
  return array[rows, box.left : box.left + box.width]


def uncover(array: np.ndarray, box: Letterbox) -> np.ndarray:
  """The image of a canvas (h, w, c), linearly at its original size."""
  return cv2.resize(inside(array, box), box.original_size[::-1])


def stretch(image: Image, size: Size, enlarging: int) -> Image:
  """To a size of any aspect: means if it gets narrower, or as OpenCV's flag."""
  mode = cv2.INTER_AREA if size[1] < image.shape[1] else enlarging
  return cv2.resize(image, size[::-1], interpolation=mode)


def rescaled(old: Size, size: Size, factor: float) -> Size:
  """Of the aspect of `old`, as large as fits into `size` times a factor."""
  scale = factor * min(a / b for a, b in zip(size, old))
  height, width = (max(1, round(side * scale)) for side in old)
  return height, width


def resize(image: Image, labels: Labels, size: Size) -> Pair:
  """To a size; image and albedo linearly, other maps by nearest."""
  y, x = (new / old for new, old in zip(size, image.shape))
  grow = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])

  def change(name: str, array: np.ndarray) -> np.ndarray:
    mode = _INTERPOLATIONS.get(name, cv2.INTER_LINEAR)
    resized = cv2.resize(array, size[::-1], interpolation=mode)
    if name != "albedo":  # OpenCV loses the axis of a single channel.
      return resized.reshape(*size, *array.shape[2:])
    # Without the black beside people, where albedo is not known.
    fraction = change("fraction", labels.mask.astype(np.float32))[..., None]
    is_inside = (change("alpha", labels.alpha) >= 128)[..., None]
    resized = np.rint(resized / np.maximum(fraction, 1 / 255))
    return np.where(is_inside, np.minimum(resized, 255), 0).astype(np.uint8)

  return change("image", image), _change(labels, image.shape[:2], change, grow)


def crop(image: Image, labels: Labels, box: Box) -> Pair:
  """Cuts out whole pixels of the image."""
  top, left, height, width = box
  move = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])

  def cut(name: str, array: np.ndarray) -> np.ndarray:
    return array[top : top + height, left : left + width]

  return cut("image", image), _change(labels, image.shape[:2], cut, move)


def flip(image: Image, labels: Labels) -> Pair:
  """Mirrors left and right; the x of normals changes its sign."""

  def mirror(name: str, array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array[:, ::-1])
    return array * np.float32([-1, 1, 1]) if name == "normal" else array

  flipped = _change(labels, image.shape[:2], mirror, np.eye(3))
  if labels.intrinsics is not None:
    intrinsics = labels.intrinsics.copy()
    intrinsics[0, 2] = image.shape[1] - 1 - intrinsics[0, 2]
    flipped = dataclasses.replace(flipped, intrinsics=intrinsics)
  return mirror("image", image), flipped


def random_view(
  image: Image, labels: Labels, rng: Rng, *, probability: float = 0.3
) -> Pair:
  """Scales by a factor in [0.5, 2], cuts out a part, flips: each by chance."""
  if rng.random() < probability:
    factor = rng.uniform(0.5, 2.0)
    size = tuple(max(1, round(side * factor)) for side in image.shape[:2])
    image, labels = resize(image, labels, size)
  if rng.random() < probability:
    image, labels = crop(image, labels, draw_crop(image.shape[:2], rng))
  if rng.random() < probability:
    image, labels = flip(image, labels)
  return image, labels


def draw_crop(size: Size, rng: Rng) -> Box:
  """A part of 40 to 100 % of an image, aspect 1:2 to 2:1.

  All of it if eight tries do not fit.
  """
  for _ in range(_NUM_TRIES):
    aspect = rng.uniform(0.5, 2.0)
    area = rng.uniform(0.4, 1.0) * size[0] * size[1]
    height = round(math.sqrt(area / aspect))
    width = round(math.sqrt(area * aspect))
    if 0 < height <= size[0] and 0 < width <= size[1]:
      top = int(rng.integers(0, size[0] - height, endpoint=True))
      left = int(rng.integers(0, size[1] - width, endpoint=True))
      return top, left, height, width
  return 0, 0, *size


def _change(
  labels: Labels,
  size: Size,
  change: Callable[[str, np.ndarray], np.ndarray],
  pixels: np.ndarray,
) -> Labels:
  """Changes every map of an image of a size.

  And intrinsics, by a matrix of homogeneous pixels.
  """
  maps = {}
  for name in ("alpha", "normal", "depth", "albedo"):
    array = labels.get(name)
    maps[name] = None if array is None else change(name, array)
  extra = {
    name: change("extra", array) if array.shape[:2] == size else array
    for name, array in labels.extra.items()
  }
  intrinsics = labels.intrinsics
  if intrinsics is not None:
    intrinsics = (pixels @ intrinsics).astype(np.float32)
  return Labels(intrinsics=intrinsics, extra=extra, **maps)
