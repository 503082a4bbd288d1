"""A person's crop; keypoints as heatmaps and back.

Points are (k, 2): x and y in pixels, 0 at the centre of the first one.
Heatmaps are (height, width, k) float32.
"""

import cv2
import numpy as np
from jaxtyping import Float

from sapiens2_jax.tasks.base import Image, Size

Box = tuple[float, float, float, float]  # top, left, height, width; pixels
People = Float[np.ndarray, "p k 3"]  # x and y in pixels, and a score
# Of an image: centre and size, each (x, y) in pixels, float64.
Region = tuple[np.ndarray, np.ndarray]

PADDING = 1.25  # of a crop around a box
_PATCH_SIGMAS = 3  # from a target to the side of its patch
_BLUR_SIDE = 11  # pixels of the decoder's Gaussian
_BLUR_SIGMA = 2.0
_LOWEST, _HIGHEST = 1e-3, 50.0  # of what the decoder takes the logarithm of
_EPS = 1.19e-7


def heatmap_size(image_size: Size) -> Size:
  """A quarter of the input's. Source: the public release."""
  return image_size[0] // 4, image_size[1] // 4


def heatmap_sigma(size: Size) -> float:
  """Of a target's Gaussian, in pixels of heatmaps of a size.

  Source: 6 at a width of 192, the public Sapiens2 release; in proportion, but
  at least 2, as wide as the decoder's own blur: ours.
  """
  return max(6 * size[1] / 192, _BLUR_SIGMA)


def box_region(box: Box) -> Region:
  """The region that a crop around a box shows; a side below 1 counts as 1."""
  top, left, height, width = box
  center = np.array([left + width / 2, top + height / 2])
  return center, np.maximum([width, height], 1) * PADDING


def fit_aspect(region_size: np.ndarray, image_size: Size) -> np.ndarray:
  """Enlarges one side of a region to the input's width / height."""
  width, height = region_size
  aspect = image_size[1] / image_size[0]
  if width > aspect * height:
    return np.array([width, width / aspect])
  return np.array([aspect * height, height])


def crop_affine(
  center: np.ndarray,
  region_size: np.ndarray,
  image_size: Size,
  angle: float = 0.0,
) -> np.ndarray:
  """(2, 3): takes pixels of an image to pixels of the input.

  Args:
    center: of the region.
    region_size: of the input's aspect.
    image_size: of the input.
    angle: of the region, degrees.

  Source: unbiased data processing, arXiv 1911.07524.
  """
  cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
  turn = np.array([[cos, -sin], [sin, cos]])
  scale = (np.array(image_size[::-1]) - 1) / region_size
  shift = region_size / 2 - turn @ center
  return scale[:, None] * np.column_stack([turn, shift])


def transform_points(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
  return points @ affine[:, :2].T + affine[:, 2]


def warp_image(image: Image, affine: np.ndarray, image_size: Size) -> Image:
  """Cuts the crop out; black beyond the image.

  Bilinear where it gets smaller, else cubic, as in the public release: there,
  OpenCV is asked for area averages but warps without them.
  """
  shrinks = np.linalg.norm(affine[:, :2], axis=1).min() < 1
  flags = cv2.INTER_LINEAR if shrinks else cv2.INTER_CUBIC
  return cv2.warpAffine(image, affine, image_size[::-1], flags=flags)


def heatmap_to_image(
  points: np.ndarray, size: Size, center: np.ndarray, region_size: np.ndarray
) -> np.ndarray:
  """Takes points of heatmaps of a size to the image."""
  ends = np.array(size[::-1]) - 1
  return points / ends * region_size + center - region_size / 2


def encode_heatmaps(points, visible, size: Size, xp=np):
  """A Gaussian for each visible point, in a square patch around it.

  The peak is below 1 for points between pixels.

  Args:
    points: (..., k, 2), in pixels of the heatmap.
    visible: (..., k) bool; the maps of the others are 0.
    size: of a heatmap.
    xp: numpy, or jax.numpy to do it on the devices.

  Returns:
    (..., height, width, k) float32.

  Source: the public Sapiens2 release.
  """
  sigma = heatmap_sigma(size)
  reach = int(_PATCH_SIGMAS * sigma)
  cols = xp.arange(size[1], dtype=xp.float32)[:, None]
  rows = xp.arange(size[0], dtype=xp.float32)[:, None, None]
  x = points[..., None, None, :, 0]
  y = points[..., None, None, :, 1]
  near = xp.abs(cols - xp.trunc(x + 0.5)) <= reach
  near = near & (xp.abs(rows - xp.trunc(y + 0.5)) <= reach)
  square = (cols - x) ** 2 + (rows - y) ** 2
  gauss = xp.exp(-square / (2 * sigma**2))
  near = near & visible[..., None, None, :]
  return xp.where(near, gauss, 0).astype(xp.float32)


def average_flipped(
  heatmaps: np.ndarray, mirrored: np.ndarray, flip_indices: np.ndarray
) -> np.ndarray:
  """Mean of the heatmaps of an input and of those of its mirror image."""
  return 0.5 * (heatmaps + mirrored[:, ::-1].take(flip_indices, axis=2))


def decode_heatmaps(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds each map's peak, to fractions of a pixel.

  Returns:
    (k, 2) float64 points in pixels of the heatmap, and (k,) scores, the
    highest values. Without a positive value the point is (-1, -1).

  Source: DARK (arXiv 1910.06278) in its unbiased form (arXiv 1911.07524). Only
  the pixels that matter are blurred: ours; the result is the same.
  """
  num_rows, num_cols, num_maps = heatmaps.shape
  maps = np.arange(num_maps)
  by_row = heatmaps.max(axis=1)
  row = by_row.argmax(axis=0)
  col = heatmaps[row, :, maps].argmax(axis=1)
  scores = by_row[row, maps]
  points = np.stack([col, row], axis=1).astype(np.float64)

  blurred = _blur_around(heatmaps, row, col)
  near_row = np.clip(row[:, None] + [-1, 0, 1], 0, num_rows - 1)
  near_col = np.clip(col[:, None] + [-1, 0, 1], 0, num_cols - 1)
  blurred = blurred[
    maps[:, None, None],
    (near_row - row[:, None] + 1)[:, :, None],
    (near_col - col[:, None] + 1)[:, None, :],
  ]
  # Blurred maps are scaled to the old maximum before they are clamped. What
  # is not clamped anyway need not be scaled: a factor has no derivatives.
  clamped = (blurred.min(axis=(1, 2)) < _LOWEST) | (scores > _HIGHEST)
  for k in np.flatnonzero(clamped & (scores > 0)):
    blurred[k] *= scores[k] / _blur(heatmaps[..., k]).max()
  offsets = _newton_step(np.log(np.clip(blurred, _LOWEST, _HIGHEST)))
  points = np.where(scores[:, None] > 0, points - offsets, -1)
  return points, scores


def _blur_around(
  heatmaps: np.ndarray, row: np.ndarray, col: np.ndarray
) -> np.ndarray:
  """(k, 3, 3) float64: what `_blur` gives at and beside one pixel each."""
  reach = _BLUR_SIDE // 2 + 1
  steps = np.arange(-reach, reach + 1)
  rows, cols = row[:, None] + steps, col[:, None] + steps
  inside_row = (rows >= 0) & (rows < heatmaps.shape[0])
  inside_col = (cols >= 0) & (cols < heatmaps.shape[1])
  patch = heatmaps[
    np.where(inside_row, rows, 0)[:, :, None],
    np.where(inside_col, cols, 0)[:, None, :],
    np.arange(len(row))[:, None, None],
  ]
  patch = patch * (inside_row[:, :, None] & inside_col[:, None, :])
  kernel = cv2.getGaussianKernel(_BLUR_SIDE, _BLUR_SIGMA)[:, 0]
  taps = np.stack([np.pad(kernel, (i, 2 - i)) for i in range(3)])
  return taps @ patch @ taps.T


def _blur(heatmap: np.ndarray) -> np.ndarray:
  side = (_BLUR_SIDE, _BLUR_SIDE)
  border = cv2.BORDER_CONSTANT
  return cv2.GaussianBlur(heatmap, side, _BLUR_SIGMA, borderType=border)


def _newton_step(log: np.ndarray) -> np.ndarray:
  """(k, 3, 3) values around a peak to (k, 2) steps (x, y) away from it."""
  center = log[:, 1, 1]
  dx = (log[:, 1, 2] - log[:, 1, 0]) / 2
  dy = (log[:, 2, 1] - log[:, 0, 1]) / 2
  dxx = log[:, 1, 2] - 2 * center + log[:, 1, 0] + _EPS
  dyy = log[:, 2, 1] - 2 * center + log[:, 0, 1] + _EPS
  dxy = 0.5 * (
    log[:, 2, 2]
    - log[:, 1, 2]
    - log[:, 2, 1]
    + 2 * center
    - log[:, 1, 0]
    - log[:, 0, 1]
    + log[:, 0, 0]
  )
  determinant = dxx * dyy - dxy * dxy
  steps = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1)
  return steps / determinant[:, None]
