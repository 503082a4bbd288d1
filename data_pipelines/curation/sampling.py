"""Balance: clusters of clusters, and a sample that takes evenly from them.

Frequent content fills few large clusters; a sample of equal shares takes less
of it. k-means runs on the embeddings, then again on its centres, and a target
is handed down from the top: each cluster gets the same share, or all it has.

Source: the idea of clustering with selective sampling is arXiv 2604.21681's;
hierarchy as in arXiv 2405.15613; the code is ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import packages

_ITERATIONS = 20
_MAX_POINTS = 256  # Of a cluster that k-means learns from.


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How to balance.

  Attributes:
    column: of embeddings, such as "embedding_vector"; "" for no balancing.
    target: rows to keep at most; 0 for no other limit than `cap`.
    clusters: of each level, fewer each time; the first is of the images.
    cap: rows of one cluster of the first level at most; 0 for no limit.
    seed: of k-means, and of which rows of a cluster are taken.
  """

  column: str = ""
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
  vectors: np.ndarray, clusters: Sequence[int], seed: int
) -> list[np.ndarray]:
  """Hierarchical k-means.

  Args:
    vectors: (n, d) float32; normalised here.
    clusters: of each level; cut to the number of what is clustered.
    seed: of the first centres.

  Returns:
    For each level the cluster of each item: of the vectors first, then of
    the centres of the level before.
  """
  faiss = packages.require("faiss", "curation")
  points = np.ascontiguousarray(vectors, np.float32)
  levels = []
  for number in clusters:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    points = points / np.maximum(lengths, np.finfo(np.float32).tiny)
    kmeans = faiss.Kmeans(
      points.shape[1],
      min(number, len(points)),
      niter=_ITERATIONS,
      seed=seed,
      spherical=True,
      min_points_per_centroid=1,
      max_points_per_centroid=_MAX_POINTS,
    )
    kmeans.train(points)
    levels.append(kmeans.index.search(points, 1)[1][:, 0])
    points = kmeans.centroids
  return levels


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
  names: Sequence[str],
  *,
  target: int,
  cap: int,
  seed: int,
) -> np.ndarray:
  """A balanced sample.

  Args:
    levels: as `cluster` returns them.
    names: of each row, all different; they and the seed decide which rows of
      a cluster are taken, not the order.
    target: rows in all; 0 for as many as there are.
    cap: rows of a cluster of the first level; 0 for no limit.
    seed: another one takes other rows.

  Returns:
    Numbers of the rows, sorted.
  """
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
  draws = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in names]
  order = np.lexsort(
    (np.argsort(np.argsort(np.array(draws, "S32"))), levels[0])
  )
  taken, ranks = levels[0][order], np.arange(len(order))
  starts = np.flatnonzero(np.diff(taken, prepend=-1))
  ranks = ranks - np.repeat(starts, np.diff(np.append(starts, len(order))))
  return np.sort(order[ranks < given[taken]])
