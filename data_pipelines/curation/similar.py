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

CLUSTER = 2048  # Rows of a cluster, about.
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
      points = sampling.normalize(vectors[group])
      pairs.append(group[find_pairs(points, self.min_similarity)])
    duplicates.save(self.path(number), np.concatenate(pairs))


def find_pairs(points: np.ndarray, min_similarity: float) -> np.ndarray:
  """Pairs that connect what is connected by similar pairs.

  Args:
    points: (n, d) float32 of length 1.
    min_similarity: cosine.

  Returns:
    (m, 2) int64 of rows, m < n: similar ones or such that others connect.
  """
  least = np.arange(len(points))
  for start in range(0, len(points), _BLOCK):
    some = points[start : start + _BLOCK]
    for other in range(0, start + 1, _BLOCK):
      cosines = some @ points[other : other + _BLOCK].T
      near = np.argwhere(cosines >= min_similarity) + [start, other]
      near = near[near[:, 0] > near[:, 1]]
      least = duplicates.connect(
        len(points), [np.stack([np.arange(len(points)), least], 1), near]
      )
  is_copy = least != np.arange(len(points))
  return np.stack([least, np.arange(len(points))], axis=1)[is_copy]


def cluster(vectors: np.ndarray, seed: int) -> np.ndarray:
  """(n,) the cluster of each of (n, d) vectors, of about 2048 rows each."""
  number = -(-len(vectors) // CLUSTER)
  return sampling.cluster(vectors, (number,), seed)[0]
