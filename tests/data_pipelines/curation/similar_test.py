"""Similar vectors: what is connected, against all pairs."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from data_pipelines.curation import duplicates, sampling, similar


@hypothesis.given(strategies.integers(0, 2**32 - 1))
def test_pairs_connect_what_is_similar(seed):
  generator = np.random.default_rng(seed)
  points = sampling.normalize(generator.normal(size=(40, 3)))
  cosines = points @ points.T
  hypothesis.assume(np.abs(cosines - 0.9).min() > 1e-6)  # Rounding.
  expected = duplicates.connect(40, [np.argwhere(cosines >= 0.9)])
  pairs = similar.find_pairs(3 * points, np.arange(40), 0.9)
  assert len(pairs) == 40 - len(set(expected.tolist()))
  assert duplicates.connect(40, [pairs]).tolist() == expected.tolist()


def test_blocks_change_nothing(monkeypatch):
  points = sampling.normalize(np.random.default_rng(0).normal(size=(60, 3)))
  at_once = similar.find_pairs(points, np.arange(60), 0.95)
  monkeypatch.setattr(similar, "_BLOCK", 7)
  pairs = similar.find_pairs(points, np.arange(60), 0.95)
  assert pairs.tolist() == at_once.tolist() and len(pairs) > 5


@pytest.mark.parametrize("num_parts", [1, 3])
def test_units_compare_within_clusters_alone(tmp_path, num_parts):
  vectors = np.array([[1, 0], [2, 0], [0, 5], [3, 0], [0, 1]], np.float32)
  np.save(tmp_path / "vectors.npy", vectors)
  np.save(tmp_path / "labels.npy", np.array([4, 4, 1, 2, 1], np.int32))
  job = similar.FindSimilar(
    tmp_path / "vectors.npy", tmp_path / "labels.npy", tmp_path, num_parts, 0.99
  )
  for part in range(num_parts):
    job(part)
  found = np.concatenate([np.load(job.path(p)) for p in range(num_parts)])
  assert sorted(found.tolist()) == [[0, 1], [2, 4]]
