"""Balanced samples: shares, caps, and what they depend on."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from data_pipelines.curation import sampling

SIZES = strategies.lists(strategies.integers(0, 20), min_size=1, max_size=8)


@hypothesis.given(SIZES, strategies.integers(0, 100))
def test_shares_are_as_even_as_sizes_allow(sizes, target):
  given = sampling.share(np.array(sizes), target)
  assert given.sum() == min(target, sum(sizes))
  assert (given <= sizes).all()
  short = given < sizes
  if short.any():  # Who could have more has no less than others, but for one.
    assert given[short].min() >= given.max() - 1


def make_vectors():
  """Three directions, of which one has most."""
  generator = np.random.default_rng(0)
  centers = np.eye(3, 8).repeat([60, 10, 5], axis=0)
  return (centers + 0.05 * generator.normal(size=(75, 8))).astype(np.float32)


def draw(vectors, keys, **changes):
  given = {"target": 12, "cap": 0, "seed": 0, **changes}
  levels = sampling.cluster(vectors, (3,), given["seed"])
  return levels[0], sampling.sample(levels, keys, **given)


KEYS = np.random.default_rng(2).integers(0, 2**64, 75, np.uint64)


def test_a_sample_takes_evenly_from_clusters():
  labels, rows = draw(make_vectors(), KEYS)
  assert len(set(labels[:60])) == len(set(labels[60:70])) == 1
  assert np.bincount(labels[rows]).tolist() == [4, 4, 4]


def test_a_cap_limits_each_cluster():
  labels, rows = draw(make_vectors(), KEYS, target=0, cap=7)
  assert sorted(np.bincount(labels[rows]).tolist()) == [5, 7, 7]


def test_samples_are_of_content_and_seed_and_not_of_order():
  vectors = make_vectors()
  _, rows = draw(vectors, KEYS)
  _, again = draw(vectors, KEYS)
  assert rows.tolist() == again.tolist()
  _, other = draw(vectors, KEYS, seed=1)
  assert rows.tolist() != other.tolist()
  levels = [np.repeat([0, 1, 2], [60, 10, 5])]
  order = np.random.default_rng(1).permutation(75)
  how = {"target": 12, "cap": 0, "seed": 0}
  expected = sampling.sample(levels, KEYS, **how)
  moved = sampling.sample([levels[0][order]], KEYS[order], **how)
  assert sorted(order[moved].tolist()) == expected.tolist()


def test_clusters_of_clusters_share_from_the_top():
  # Clusters 0, 1, 2 lie below 0, cluster 3 below 1.
  levels = [np.repeat([0, 1, 2, 3], [20, 20, 20, 20]), np.array([0, 0, 0, 1])]
  keys = np.arange(80, dtype=np.uint64)
  rows = sampling.sample(levels, keys, target=24, cap=0, seed=0)
  assert np.bincount(levels[0][rows]).tolist() == [4, 4, 4, 12]
  rows = sampling.sample(levels, keys, target=24, cap=6, seed=0)
  assert np.bincount(levels[0][rows]).tolist() == [6, 6, 6, 6]


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"clusters": (3, 3)}, r"clusters=\(3, 3\) must be falling"),
    ({"cap": -1}, "cap=-1 must be at least 0"),
  ],
)
def test_settings_that_mean_nothing(wrong, message):
  with pytest.raises(ValueError, match=message):
    sampling.Sampling(**wrong)
