"""How far predicted points are off, pooled over a set."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from sapiens2_jax.tasks.angles import AngleStatistics, angles_between
from sapiens2_jax.tasks.totals import Totals

PointArray = Float[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

WITHIN = (0.05, 0.10, 0.20)


class PointMetric(Totals):
  """Errors of points and of the normals they imply, over a mask.

  Without any alignment. Distances have the points' unit, angles are degrees,
  fractions lie in [0, 1].

  Source: the public Sapiens2 release.
  """

  def __init__(self):
    self._count = 0
    self._sum = self._sum_squares = 0.0
    self._axes = np.zeros(3)
    self._within = np.zeros(len(WITHIN), np.int64)
    self._angles = AngleStatistics()

  def add(self, prediction: PointArray, target: PointArray, mask: Mask) -> None:
    """Takes in one image."""
    error = (prediction - target)[mask].astype(np.float64)
    distance = np.linalg.norm(error, axis=-1)
    self._count += len(error)
    self._sum += distance.sum()
    self._sum_squares += np.sum(distance**2)
    self._axes += np.abs(error).sum(axis=0)
    self._within += [np.count_nonzero(distance < limit) for limit in WITHIN]
    found, wanted = sobel_normals(prediction), sobel_normals(target)
    self._angles.add(angles_between(found[mask], wanted[mask]))

  def result(self) -> dict[str, float]:
    """l2, rmse, mae of each axis, fractions within; then normals. NaN: none."""
    count = self._count or float("nan")
    return {
      "l2": float(self._sum / count),
      "rmse": float(np.sqrt(self._sum_squares / count)),
      **{
        f"mae_{axis}": float(total / count)
        for axis, total in zip("xyz", self._axes)
      },
      **{
        f"within_{limit:.2f}": float(found / count)
        for limit, found in zip(WITHIN, self._within)
      },
      "normal_mean": self._angles.mean(),
      "normal_rmse": self._angles.rmse(),
      **{
        f"normal_{name}": fraction
        for name, fraction in self._angles.within().items()
      },
    }


def sobel_normals(points: PointArray) -> PointArray:
  """Normals from 5 x 5 Sobel derivatives; of unit length where there is one."""
  points = points.astype(np.float64)
  across = cv2.Sobel(points, cv2.CV_64F, 1, 0, ksize=5)
  down = cv2.Sobel(points, cv2.CV_64F, 0, 1, ksize=5)
  normals = np.cross(across, down)
  return normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-6)
