"""What features say: principal components and nearest neighbours."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

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


def find_neighbors(
  features: Float[np.ndarray, "n d"], count: int
) -> tuple[Int[np.ndarray, "n c"], Float[np.ndarray, "n c"]]:
  """The most similar other rows of each row, by cosine.

  Args:
    features: one row a sample.
    count: of neighbours; fewer if there are not as many other rows.

  Returns:
    Row numbers and cosine similarities in [-1, 1], most similar first.
  """
  x = features.astype(np.float64)
  x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  similarity = x @ x.T
  np.fill_diagonal(similarity, -np.inf)
  count = min(count, len(x) - 1)
  ids = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
  return ids, np.take_along_axis(similarity, ids, axis=1)


def same_group_share(
  ids: Int[np.ndarray, "n c"], groups: Int[np.ndarray, "n"]
) -> float:
  """Share of rows whose nearest neighbour is of the same group."""
  if not ids.shape[1]:
    return float("nan")
  return float(np.mean(groups[ids[:, 0]] == groups))


def chance_level(groups: Int[np.ndarray, "n"]) -> float:
  """`same_group_share` of a neighbour drawn at random from the other rows."""
  if len(groups) < 2:
    return float("nan")
  others = np.sum(groups[:, None] == groups[None, :], axis=1) - 1
  return float(np.mean(others) / (len(groups) - 1))
