"""A landmark probe: where the points of a face are, from frozen features.

Made for few faces: each one to train on is cut out many times, moved, scaled,
turned and mirrored, and ridge regression in closed form goes from the features
of all patches of a crop to all of its points. Ours.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from data_pipelines.faces.dlib import Face
from sapiens2_jax.tasks.base import Image, Images
from sapiens2_jax.tasks.pose import codec

Points = Float[np.ndarray, "n k 2"]  # x and y in pixels
# Images of one size to features of their patches (b, rows, cols, d).
Encode = Callable[[Images], np.ndarray]

ENLARGED = 1.3  # side of a crop over that of the box  # ours
# Largest differences of a drawn crop: of the box's side, logarithm, degrees.
_SHIFT, _SCALE, _ANGLE = 0.12, 0.15, 12.0  # ours
TRAIN_DRAWS, TEST_DRAWS = 16, 8  # of each face, beside the straight crop
STRENGTHS = tuple(10.0**e for e in range(-3, 4))  # of the ridge  # ours
_EYES = (36, 45)  # outer corners, in the iBUG scheme of 68 points


@dataclasses.dataclass(frozen=True, eq=False)
class Crops:
  """Faces, cut out of their photographs.

  Attributes:
    images: (n, h, w, 3) uint8 RGB.
    points: (n, 68, 2) in pixels of the crop.
    faces: (n,) of each crop the number of its face.
    straight: (n,) bool, those around the box as it is.
  """

  images: Images
  points: Points
  faces: Int[np.ndarray, "n"]
  straight: np.ndarray


@functools.cache
def mirror_ids() -> np.ndarray:
  """(68,) the point of the iBUG scheme that a mirror makes of each."""
  jaw_and_brows = [*range(16, -1, -1), *range(26, 16, -1)]
  nose = [*range(27, 31), *range(35, 30, -1)]
  eyes = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
  outer_lips = [*range(54, 47, -1), *range(59, 54, -1)]
  inner_lips = [*range(64, 59, -1), 67, 66, 65]
  return np.array(jaw_and_brows + nose + eyes + outer_lips + inner_lips)


def eye_distance(points: Points) -> Float[np.ndarray, "n"]:
  """Between the outer corners of the eyes, the unit of `normalized_error`."""
  return np.linalg.norm(points[:, _EYES[0]] - points[:, _EYES[1]], axis=-1)


def normalized_error(
  found: Points, true: Points, unit: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
  """NME of each face: mean distance of its points, over its `unit`."""
  return np.linalg.norm(found - true, axis=-1).mean(axis=-1) / unit


def cut(
  faces: Sequence[Face],
  photographs: Mapping[str, Image],
  side: int,
  *,
  draws: int = 0,
  seed: int = 0,
  mirrors: bool = False,
) -> Crops:
  """Cuts faces out: around the box, and `draws` times around another one.

  Args:
    faces: of the photographs.
    photographs: by path.
    side: of a crop, pixels.
    draws: crops of each face beside the straight one, at random.
    seed: of these.
    mirrors: each crop is followed by its mirror image.
  """
  rng, size = np.random.default_rng(seed), (side, side)
  images, points, numbers, straight = [], [], [], []
  for number, face in enumerate(faces):
    top, left, height, width = face.box
    middle = np.array([left + (width - 1) / 2, top + (height - 1) / 2])
    for draw in range(1 + draws):
      center, extent, angle = middle, max(height, width), 0.0
      if draw:
        center = middle + rng.uniform(-_SHIFT, _SHIFT, 2) * extent
        extent = extent * np.exp(rng.uniform(-_SCALE, _SCALE))
        angle = rng.uniform(-_ANGLE, _ANGLE)
      region = np.full(2, extent * ENLARGED)
      affine = codec.crop_affine(center, region, size, angle)
      crop = codec.warp_image(photographs[face.image], affine, size)
      found = codec.transform_points(face.points, affine)
      images.append(crop)
      points.append(found)
      if mirrors:
        images.append(crop[:, ::-1])
        points.append((found * (-1, 1) + (side - 1, 0))[mirror_ids()])
      copies = 1 + mirrors
      numbers += [number] * copies
      straight += [draw == 0] * copies
  return Crops(
    np.stack(images), np.stack(points), np.array(numbers), np.array(straight)
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Ridge:
  """Ridge regression with more features than samples.

  The one of `online` adds up a matrix of all features, which is too large here.
  """

  mean_x: np.ndarray
  mean_y: np.ndarray
  weights: np.ndarray

  def __call__(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
    return (x - self.mean_x) @ self.weights + self.mean_y


def fit_ridge(
  x: Float[np.ndarray, "n d"],
  y: Float[np.ndarray, "n c"],
  strengths: Sequence[float],
) -> list[Ridge]:
  """One regression for each strength, in units of the mean squared feature."""
  mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
  x, y = x - mean_x, y - mean_y
  values, vectors = np.linalg.eigh(x @ x.T)
  unit, turned = values.mean(), vectors.T @ y
  return [
    Ridge(
      mean_x,
      mean_y,
      x.T @ (vectors @ (turned / (values + strength * unit)[:, None])),
    )
    for strength in strengths
  ]


def choose_strength(
  x: Float[np.ndarray, "n d"], points: Points, groups: np.ndarray
) -> tuple[float, float]:
  """The strength that does best on groups that were left out, one by one.

  Returns:
    It, and the NME with it.
  """
  y, units = points.reshape(len(points), -1), eye_distance(points)
  errors = np.zeros((len(STRENGTHS), len(x)))
  for group in np.unique(groups):
    out = groups == group
    for row, ridge in enumerate(fit_ridge(x[~out], y[~out], STRENGTHS)):
      found = ridge(x[out]).reshape(-1, *points.shape[1:])
      errors[row, out] = normalized_error(found, points[out], units[out])
  means = errors.mean(axis=1)
  best = int(means.argmin())
  return STRENGTHS[best], float(means[best])


def mean_shape(train: Crops, test: Crops) -> Float[np.ndarray, "n"]:
  """NME of each test crop if all have the mean of the straight ones' points."""
  shape = train.points[train.straight].mean(axis=0)
  return normalized_error(shape, test.points, eye_distance(test.points))


def measure(
  encode: Encode, train: Crops, test: Crops, photographs: Sequence[str]
) -> dict[str, object]:
  """Probes frozen features.

  Args:
    encode: the encoder.
    train: to fit.
    test: to measure on.
    photographs: of each face to train on, which are left out one by one to
      choose the strength.

  Returns:
    The "strength" and "cross_validated" NME; of each test crop "errors", and
    "points", (n, 68, 2) in its pixels.
  """
  features = encode(train.images).astype(np.float64)
  mean, std = (f(features, axis=(0, 1, 2)) for f in (np.mean, np.std))

  def flatten(values: np.ndarray) -> np.ndarray:
    return ((values - mean) / np.maximum(std, 1e-6)).reshape(len(values), -1)

  x, y = flatten(features), train.points.reshape(len(train.points), -1)
  groups = np.array(photographs)[train.faces]
  strength, error = choose_strength(x, train.points, groups)
  (ridge,) = fit_ridge(x, y, [strength])
  found = ridge(flatten(encode(test.images))).reshape(test.points.shape)
  errors = normalized_error(found, test.points, eye_distance(test.points))
  return {
    "strength": strength,
    "cross_validated": error,
    "errors": errors,
    "points": found,
  }
