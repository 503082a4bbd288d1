"""What features say: their principal components."""

import dataclasses

import numpy as np
from jaxtyping import Float

PERCENTILES = (1.0, 99.0)  # of a component, mapped to 0 and 1  # ours


@dataclasses.dataclass(frozen=True)
class Components:
  """Leading principal components of a set of features.

  Attributes:
    mean: (d,) of the features.
    axes: (k, d), orthonormal; the largest entry of each is positive.
    explained: (k,) share of the total variance, in [0, 1].
    low, high: (k,) range of the projections, at `PERCENTILES`.
  """

  mean: np.ndarray
  axes: np.ndarray
  explained: np.ndarray
  low: np.ndarray
  high: np.ndarray


def fit_components(
  features: Float[np.ndarray, "n d"], count: int = 3
) -> Components:
  """Finds the directions in which features vary most."""
  x = features.astype(np.float64)
  mean = x.mean(axis=0)
  values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
  order = np.argsort(values)[::-1][:count]
  axes = vectors[:, order].T
  largest = np.abs(axes).argmax(axis=1)
  axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
  low, high = np.percentile((x - mean) @ axes.T, PERCENTILES, axis=0)
  total = max(values.sum(), np.finfo(np.float64).tiny)
  return Components(mean, axes, values[order] / total, low, high)


def paint(
  features: Float[np.ndarray, "*b d"], components: Components
) -> Float[np.ndarray, "*b k"]:
  """Projections on the components as brightness in [0, 1]."""
  x = (features.astype(np.float64) - components.mean) @ components.axes.T
  span = np.maximum(components.high - components.low, 1e-12)
  return np.clip((x - components.low) / span, 0.0, 1.0)
