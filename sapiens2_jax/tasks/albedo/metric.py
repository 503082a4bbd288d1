"""How far predicted colours in [0, 1] are off, pooled over a set."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from sapiens2_jax.tasks.totals import Totals

Colors = Float[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

_C1, _C2 = 0.01**2, 0.03**2
_WINDOW, _SIGMA = 11, 1.5


class ColorMetric(Totals):
  """Errors over a mask: means over channels, then over all pixels of a set.

  Source: the public Sapiens2 release.
  """

  def __init__(self):
    self._absolute = self._square = self._steps = self._ssim = 0.0
    self._pixels = self._pairs = self._windows = 0

  def add(self, prediction: Colors, target: Colors, mask: Mask) -> None:
    """Takes in one image."""
    error = (prediction - target).astype(np.float64)
    self._pixels += np.count_nonzero(mask)
    self._absolute += np.abs(error)[mask].mean(axis=-1).sum()
    self._square += (error**2)[mask].mean(axis=-1).sum()
    for axis in (0, 1):
      step = np.abs(np.diff(error, axis=axis)).mean(axis=-1)
      first, second = (
        np.take(mask, range(i, mask.shape[axis] - 1 + i), axis) for i in (0, 1)
      )
      both = first & second
      self._steps += step[both].sum()
      self._pairs += np.count_nonzero(both)
    similarity, is_covered = ssim_map(prediction, target, mask)
    self._ssim += similarity[is_covered].sum()
    self._windows += np.count_nonzero(is_covered)

  def result(self) -> dict[str, float]:
    """mae, rmse, psnr (dB), gradient_l1 and ssim; NaN of nothing."""
    if not self._pixels:
      names = ("mae", "rmse", "psnr", "gradient_l1", "ssim")
      return dict.fromkeys(names, float("nan"))
    square = self._square / self._pixels
    return {
      "mae": float(self._absolute / self._pixels),
      "rmse": float(np.sqrt(square)),
      "psnr": float(-10 * np.log10(max(square, 1e-12))),
      "gradient_l1": float(self._steps / max(self._pairs, 1)),
      "ssim": float(self._ssim / max(self._windows, 1)),
    }


def ssim_map(
  prediction: Colors, target: Colors, mask: Mask
) -> tuple[Float[np.ndarray, "h w"], Mask]:
  """Structural similarity around each pixel, of what the mask shows.

  Gaussian windows of 11 x 11, sigma 1.5, zero beyond the image; moments are
  divided by the mask's fraction of the window.

  Returns:
    The mean over channels, and where the mask has over half of the window.
  """
  weights = mask.astype(np.float64)

  def average(x: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(
      x, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_CONSTANT
    )

  fraction = average(weights)
  known = np.maximum(fraction, 1e-8)[..., None]

  def moment(x: np.ndarray) -> np.ndarray:
    return average(x * weights[..., None]) / known

  p, t = prediction.astype(np.float64), target.astype(np.float64)
  mean_p, mean_t = moment(p), moment(t)
  var_p, var_t = moment(p * p) - mean_p**2, moment(t * t) - mean_t**2
  covariance = moment(p * t) - mean_p * mean_t
  top = (2 * mean_p * mean_t + _C1) * (2 * covariance + _C2)
  bottom = (mean_p**2 + mean_t**2 + _C1) * (var_p + var_t + _C2)
  return (top / (bottom + 1e-8)).mean(axis=-1), fraction > 0.5
