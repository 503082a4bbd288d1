"""Nearly equal images by their embeddings, looked for within clusters.

PDQ does not find what was cropped or turned; vectors of a network may. All
vectors of a cluster of k-means are compared, so what lies on both sides of a
border between clusters is missed.

Source: the idea is arXiv 2303.09540's; the code is ours.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from data_pipelines.curation import duplicates, sampling

CLUSTER = 2048  # Rows of a cluster, about, up to so many clusters:
_MAX_CLUSTERS = 2048
_LEARN = 64  # Rows of a cluster that k-means learns from.
_BLOCK = 2048  # Rows that are compared with as many others at a time.


@dataclasses.dataclass(frozen=True)
class FindSimilar:
  """Finds the similar pairs of some clusters; picklable.

  Attributes:
    vectors: .npy of (n, d) float32, of any length.
    labels: .npy of (n,), the cluster of each row.
    directory: of the files that are made.
    num_parts: unit i has the clusters whose number, divided by this, leaves i.
    min_similarity: cosine.
  """

  vectors: pathlib.Path
  labels: pathlib.Path
  directory: pathlib.Path
  num_parts: int
  min_similarity: float

  def load(self) -> None:
    """There is nothing to open."""

  def path(self, number: int) -> pathlib.Path:
    """(m, 2) int64, pairs of rows."""
    return self.directory / f"similar-{number:06}.npy"

  def __call__(self, number: int) -> None:
    labels = np.load(self.labels)
    rows = np.flatnonzero(labels % self.num_parts == number)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[rows], prepend=-1))
    vectors = np.load(self.vectors, mmap_mode="r")
    pairs = [np.empty((0, 2), np.int64)]
    for group in np.split(rows, starts[1:]) if len(rows) else ():
      pairs.append(find_pairs(vectors, group, self.min_similarity))
    duplicates.save(self.path(number), np.concatenate(pairs))


def find_pairs(
  vectors: np.ndarray, rows: np.ndarray, min_similarity: float
) -> np.ndarray:
  """Pairs that connect what is connected by similar pairs.

  Args:
    vectors: (n, d) float32, may lie in a file.
    rows: (k,) of these, which are compared.
    min_similarity: cosine.

  Returns:
    (m, 2) int64, m < k, of rows: similar ones, or such that others connect.
  """
  least = np.arange(len(rows))
  for start in range(0, len(rows), _BLOCK):
    some = sampling.normalize(vectors[rows[start : start + _BLOCK]])
    for other in range(0, start + 1, _BLOCK):
      others = sampling.normalize(vectors[rows[other : other + _BLOCK]])
      near = np.argwhere(some @ others.T >= min_similarity) + [start, other]
      near = near[near[:, 0] > near[:, 1]]
      known = np.stack([np.arange(len(rows)), least], axis=1)
      least = duplicates.connect(len(rows), [known, near])
  is_copy = least != np.arange(len(rows))
  return np.stack([rows[least], rows], axis=1)[is_copy]


def cluster(vectors: np.ndarray, seed: int) -> np.ndarray:
  """(n,) the cluster of each of (n, d) vectors."""
  number = min(-(-len(vectors) // CLUSTER), _MAX_CLUSTERS)
  return sampling.cluster(vectors, (number,), seed, _LEARN)[0]
