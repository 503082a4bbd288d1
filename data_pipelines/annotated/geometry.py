"""Depth, normals and cameras in files of other people, made ours or refused."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

import numpy as np

from data_pipelines.annotated import files
from data_pipelines.corpus.labels import Labels

AXES = ("x", "y", "z")
Axes = tuple[tuple[int, int], ...]  # Of ours, sign and index in a file.
_DEPTHS = (0.05, 100.0)  # Metres that the median of people's depth may have.
_LENGTH_ERROR = 0.1  # Of the median normal.
_MIN_FOCAL = 0.1  # Of the longer side: 157 degrees.
_MAX_STEP = 0.05  # Of the depth, between pixels of one surface.
_MIN_PIXELS = 50  # To compare normals with depth at.
_MIN_COSINE = 0.5  # Of normals to those of the depth, in the mean.
_MAX_LOSS = 0.05  # Of that, against the axes that fit best.


def read_axes(axes: Sequence[str]) -> Axes:
  """Signs and indices of axes such as ("x", "-y", "-z").

  Raises:
    ValueError: not x, y and z in some order, each with at most a sign.
  """
  names = [axis.lstrip("+-") for axis in axes]
  signs = [axis[: -len(name)] for axis, name in zip(axes, names) if name]
  if sorted(names) != sorted(AXES) or not set(signs) <= {"", "+", "-"}:
    raise ValueError(
      f"{','.join(axes)} are not the axes x, y and z in some order, each with "
      "or without a sign."
    )
  return tuple(
    (-1 if sign == "-" else 1, AXES.index(name))
    for sign, name in zip(signs, names)
  )


def write_axes(axes: Axes) -> str:
  """As `read_axes` and specs know them: "x-y-z"."""
  return "".join(f"{'-' if sign < 0 else ''}{AXES[i]}" for sign, i in axes)


def check_depth(depth: np.ndarray, path: str, advice: str) -> None:
  """Refuses depth of people that cannot be metres.

  Args:
    depth: of their pixels.
    path: of the file, for messages.
    advice: for depth in millimetres.

  Raises:
    ImageDecodeError: their median depth is out of `_DEPTHS`.
  """
  median = float(np.median(depth))
  low, high = _DEPTHS
  if not low <= median <= high:
    unit = f"millimetres; {advice}" if median > high else "fractions"
    raise files.bad_labels(
      path,
      f"the median depth of people is {median:g}, expected metres ({low:g} to "
      f"{high:g}); these may be {unit}",
    )


def read_intrinsics(path: str, size: tuple[int, int]) -> np.ndarray:
  """Reads the 3 x 3 numbers of a camera, in pixels, from a text file.

  Args:
    path: of the file.
    size: (height, width) of the image.

  Raises:
    ImageDecodeError: no such numbers, or focal lengths that are no pixels.
  """
  data = files.read(path)
  try:
    matrix = np.loadtxt(io.StringIO(data.decode()), ndmin=2)
  except ValueError as error:
    raise files.bad_labels(path, f"no matrix: {error}") from error
  if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
    problem = f"{matrix.shape} numbers, expected (3, 3), all finite"
    raise files.bad_labels(path, problem)
  if min(matrix[0, 0], matrix[1, 1]) <= 0:
    raise files.bad_labels(path, "focal lengths must be above 0")
  if min(matrix[0, 0], matrix[1, 1]) < _MIN_FOCAL * max(size):
    raise files.bad_labels(
      path,
      f"focal lengths of {matrix[0, 0]:g} and {matrix[1, 1]:g} pixels for an "
      f"image of {size}; expected pixels, not fractions of its sides",
    )
  return matrix.astype(np.float32)


def check_normals(
  found: np.ndarray, path: str, advice: str, may_be_positive: bool = False
) -> None:
  """Refuses (n, 3) normals of people that are no unit vectors.

  Args:
    found: of their pixels.
    path: of the file, for messages.
    advice: what to do about it.
    may_be_positive: or all numbers above 0 mean that they are colours.

  Raises:
    ImageDecodeError: their median length is not nearly 1, or all are above 0.
  """
  length = np.median(np.linalg.norm(found, axis=-1))
  is_positive = not may_be_positive and found.min() > 0
  if is_positive or abs(length - 1) > _LENGTH_ERROR:
    signs = "all are above 0" if is_positive else "some are below 0"
    raise files.bad_labels(
      path,
      f"normals have a median length of {length:.3g} and {signs}, expected "
      f"unit vectors in [-1, 1]; {advice}",
    )


def unit_normals(found: np.ndarray, mask: np.ndarray, axes: Axes) -> np.ndarray:
  """(h, w, 3) normals in our axes, of length 1 in the mask."""
  normal = np.stack([sign * found[..., i] for sign, i in axes], -1)
  length = np.linalg.norm(normal, axis=-1, keepdims=True)
  return normal / np.where(mask[..., None], length, 1)


def check_axes(
  normal: np.ndarray,
  mask: np.ndarray,
  depth: np.ndarray,
  intrinsics: np.ndarray,
  axes: Axes,
  path: str,
) -> None:
  """Refuses normals that do not fit the depth, and says which axes do.

  Axes that are wrong look right at a glance: seen from the front, most of a
  person points to the camera.

  Args:
    normal: (h, w, 3), as in the file, of length 1 in the mask.
    mask: (h, w) bool.
    depth: (h, w) metres.
    intrinsics: (3, 3) in pixels.
    axes: what of `normal` is said to be ours.
    path: of the file of normals, for messages.

  Raises:
    ImageDecodeError: other axes fit better, or none does.
  """
  found, smooth = _normals_of(depth, intrinsics, mask)
  if smooth.sum() < _MIN_PIXELS:
    return
  products = found[smooth].T @ normal[1:-1, 1:-1][smooth] / smooth.sum()

  def fit(axes: Axes) -> float:
    return sum(s * products[row, i] for row, (s, i) in enumerate(axes))

  best = max(_all_axes(), key=fit)
  if fit(best) < _MIN_COSINE:
    raise files.bad_labels(
      path,
      "normals and depth contradict each other: their mean cosine is "
      f"{fit(best):.2f} with the best axes, {write_axes(best)}, and "
      f"{fit(axes):.2f} with {write_axes(axes)}",
    )
  if fit(best) - fit(axes) > _MAX_LOSS:
    raise files.bad_labels(
      path,
      f"normals do not fit the depth: their mean cosine is {fit(axes):.2f} "
      f"with the axes {write_axes(axes)}, {fit(best):.2f} with "
      f"{write_axes(best)}; say axes={write_axes(best)}",
    )


def _all_axes() -> list[Axes]:
  signs = list(itertools.product((1, -1), repeat=3))
  return [
    tuple(zip(sign, order))
    for order in itertools.permutations(range(3))
    for sign in signs
  ]


def _normals_of(
  depth: np.ndarray, intrinsics: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Our normals of a depth map without its border, and where it is smooth."""
  points = Labels(depth=depth, intrinsics=intrinsics).pointmap()
  across = points[1:-1, 2:] - points[1:-1, :-2]
  down = points[2:, 1:-1] - points[:-2, 1:-1]
  # Of points y is down and z away from the camera.
  normal = np.cross(down, across) * np.float32([1, -1, -1])
  length = np.linalg.norm(normal, axis=-1, keepdims=True)
  smooth = mask[1:-1, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2]
  smooth &= mask[2:, 1:-1] & mask[:-2, 1:-1] & (length[..., 0] > 0)
  step = np.maximum(abs(across[..., 2]), abs(down[..., 2]))
  smooth &= step < _MAX_STEP * depth[1:-1, 1:-1]
  return normal / np.where(length > 0, length, 1), smooth
