"""Balance: clusters of clusters, and a sample that takes evenly from them.

Frequent content fills few large clusters; a sample of equal shares takes less
of it. k-means runs on the embeddings, then again on its centres, and a target
is handed down from the top: each cluster gets the same share, or all it has.

Source: the idea of clustering with selective sampling is arXiv 2604.21681's;
hierarchy as in arXiv 2405.15613; the code is ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import packages

_ITERATIONS = 20
_BLOCK = 2**16  # Vectors whose cluster is looked up together.
_MAX_POINTS = 256  # Of a cluster that k-means learns from.


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How to balance.

  Attributes:
    target: rows to keep at most; 0 for no other limit than `cap`.
    clusters: of each level, fewer each time; the first is of the images.
    cap: rows of one cluster of the first level at most; 0 for no limit.
      Without target and cap all is kept.
    seed: of k-means, and of which rows of a cluster are taken.
  """

  target: int = 0
  clusters: tuple[int, ...] = (1000, 30)
  cap: int = 0
  seed: int = 0

  def __post_init__(self):
    if self.target < 0 or self.cap < 0:
      raise ValueError(
        f"target={self.target} and cap={self.cap} must be at least 0."
      )
    is_falling = all(a > b for a, b in zip(self.clusters, self.clusters[1:]))
    if not self.clusters or min(self.clusters) < 1 or not is_falling:
      raise ValueError(
        f"clusters={self.clusters} must be falling numbers above 0."
      )


def cluster(
  vectors: np.ndarray,
  clusters: Sequence[int],
  seed: int,
  max_points: int = _MAX_POINTS,
) -> list[np.ndarray]:
  """Hierarchical k-means.

  Args:
    vectors: (n, d) float32, may lie in a file; normalised here. k-means
      learns from the first ones, so they must be in no order of meaning.
    clusters: of each level; cut to the number of what is clustered.
    seed: of the first centres.
    max_points: of a cluster that k-means learns from.

  Returns:
    For each level the cluster of each item: of the vectors first, then of
    the centres of the level before.
  """
  faiss = packages.require("faiss", "curation")
  points, levels = vectors, []
  for number in clusters:
    number = min(number, len(points))
    kmeans = faiss.Kmeans(
      points.shape[1],
      number,
      niter=_ITERATIONS,
      seed=seed,
      spherical=True,
      min_points_per_centroid=1,
      max_points_per_centroid=max_points,
    )
    kmeans.train(normalize(points[: number * max_points]))
    blocks = [
      kmeans.index.search(normalize(points[start : start + _BLOCK]), 1)[1]
      for start in range(0, len(points), _BLOCK)
    ]
    levels.append(np.concatenate(blocks)[:, 0].astype(np.int32))
    points = kmeans.centroids
  return levels


def normalize(vectors: np.ndarray) -> np.ndarray:
  """(n, d) float32 of length 1; what has none stays 0."""
  points = np.ascontiguousarray(vectors, np.float32)
  lengths = np.linalg.norm(points, axis=1, keepdims=True)
  return points / np.maximum(lengths, np.finfo(np.float32).tiny)


def share(sizes: np.ndarray, target: int) -> np.ndarray:
  """Shares a target evenly: each gets the same, or all it has.

  What cannot be divided goes to the first ones that have more.

  Args:
    sizes: (n,) how much each has.
    target: to share; no more than there is.
  """
  sizes = np.asarray(sizes, np.int64)
  target = min(int(target), int(sizes.sum()))
  given = np.zeros_like(sizes)
  while left := target - int(given.sum()):
    hungry = np.flatnonzero(given < sizes)
    each = left // len(hungry)
    if not each:
      given[hungry[:left]] += 1
    given[hungry] = np.minimum(given[hungry] + each, sizes[hungry])
  return given


def sample(
  levels: Sequence[np.ndarray],
  keys: np.ndarray,
  *,
  target: int,
  cap: int,
  seed: int,
) -> np.ndarray:
  """A balanced sample.

  Args:
    levels: as `cluster` returns them.
    keys: (n,) uint64 of each row, the start of its content hash; they and the
      seed decide which rows of a cluster are taken, not the order, unless two
      are equal.
    target: rows in all; 0 for as many as there are.
    cap: rows of a cluster of the first level; 0 for no limit.
    seed: another one takes other rows.

  Returns:
    Numbers of the rows, sorted.
  """
  given = _share_down(levels, target, cap)
  # Few arrays live at a time: there may be very many rows.
  order = np.argsort(
    mix(keys ^ mix(np.array([seed], np.uint64))), kind="stable"
  )
  labels = levels[0][order].astype(np.int32)
  by_label = np.argsort(labels, kind="stable")
  order, labels = order[by_label], labels[by_label]
  starts = np.flatnonzero(np.diff(labels, prepend=-1))
  sizes = np.diff(np.append(starts, len(labels)))
  taken = [
    order[start : start + min(size, given[label])]
    for start, size, label in zip(starts, sizes, labels[starts])
  ]
  return np.sort(np.concatenate(taken))


def _share_down(
  levels: Sequence[np.ndarray], target: int, cap: int
) -> np.ndarray:
  """How many rows each cluster of the first level gives."""
  counts = np.bincount(levels[0])
  if cap:
    counts = np.minimum(counts, cap)
  available = [counts]
  for level in levels[1:]:
    parents = np.zeros(level.max() + 1, np.int64)
    np.add.at(parents, level[: len(available[-1])], available[-1])
    available.append(parents)
  top = available[-1]
  given = share(top, target or int(top.sum()))
  for depth in range(len(levels) - 1, 0, -1):
    below, parent = available[depth - 1], levels[depth]
    next_given = np.zeros_like(below)
    for number, amount in enumerate(given):
      children = np.flatnonzero(parent[: len(below)] == number)
      if len(children):
        next_given[children] = share(below[children], amount)
    given = next_given
  return given


def mix(values: np.ndarray) -> np.ndarray:
  """Scrambles uint64; different ones stay different.

  Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
  """
  values = values + np.uint64(0x9E3779B97F4A7C15)
  values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return values ^ (values >> np.uint64(31))
