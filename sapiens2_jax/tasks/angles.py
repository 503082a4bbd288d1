"""How far predicted directions are off, pooled over a set."""

import numpy as np
from jaxtyping import Float

from sapiens2_jax.tasks.totals import Totals

WITHIN = (5.0, 11.25, 22.5, 30.0)  # degrees
_BIN = 0.5  # degrees; of the histogram whose middle is the median


def angles_between(
  prediction: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n"]:
  """Degrees between vectors of any length; 90 to one of no length."""

  def unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-6)

  cosine = np.sum(unit(prediction) * unit(target), axis=-1)
  return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


class AngleStatistics(Totals):
  """Mean, median and more of all angles that were added.

  Attributes:
    count: how many there are.
  """

  def __init__(self):
    self.count = 0
    self._sum = self._sum_squares = 0.0
    self._within = np.zeros(len(WITHIN), np.int64)
    self._histogram = np.zeros(round(180 / _BIN), np.int64)

  def add(self, angles: Float[np.ndarray, "n"]) -> None:
    """Takes in angles in degrees."""
    angles = angles.astype(np.float64)
    self.count += angles.size
    self._sum += angles.sum()
    self._sum_squares += np.sum(angles**2)
    self._within += [np.count_nonzero(angles < limit) for limit in WITHIN]
    self._histogram += np.histogram(
      angles, len(self._histogram), range=(0, 180)
    )[0]

  def mean(self) -> float:
    """In degrees; NaN of nothing."""
    return float(self._sum / (self.count or np.nan))

  def rmse(self) -> float:
    """Root of the mean square in degrees; NaN of nothing."""
    return float(np.sqrt(self._sum_squares / (self.count or np.nan)))

  def median(self) -> float:
    """In degrees, the centre of a bin of 0.5; NaN of nothing."""
    if not self.count:
      return float("nan")
    middle = np.searchsorted(np.cumsum(self._histogram), self.count / 2)
    return float((middle + 0.5) * _BIN)

  def within(self) -> dict[str, float]:
    """Fraction of angles strictly below each limit; NaN of nothing."""
    return {
      f"within_{limit:g}": float(found / (self.count or np.nan))
      for limit, found in zip(WITHIN, self._within)
    }
