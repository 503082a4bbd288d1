import numpy as np
import pytest

from sapiens2_jax.evaluation import knn


def test_neighbors_are_by_angle_and_never_oneself():
  angles = np.deg2rad([0.0, 10.0, 30.0, 180.0])
  x = np.stack([np.cos(angles), np.sin(angles)], 1) * [[1], [9], [2], [3]]
  ids, similarities = knn.find_neighbors(x, 2)
  np.testing.assert_array_equal(ids, [[1, 2], [0, 2], [1, 0], [2, 1]])
  np.testing.assert_allclose(similarities[0], np.cos(angles[[1, 2]]))


def test_neighbors_are_fewer_when_there_are_fewer_rows():
  ids, _ = knn.find_neighbors(np.eye(3), 10)
  assert ids.shape == (3, 2)
  ids, _ = knn.find_neighbors(np.ones((1, 2)), 4)
  assert np.isnan(knn.same_group_fraction(ids, np.zeros(1, int)))


def test_share_counts_only_the_nearest_neighbor():
  ids = np.array([[1, 2], [2, 0], [3, 0], [2, 1]])
  assert knn.same_group_fraction(ids, np.array([0, 0, 1, 1])) == 0.75


def test_chance_level_equals_random_neighbors():
  groups = np.repeat([0, 1, 2], [4, 4, 2])
  rng = np.random.default_rng(0)
  ids = [
    rng.choice(np.delete(np.arange(10), i), 4000) for i in range(len(groups))
  ]
  drawn = np.mean(groups[np.array(ids)] == groups[:, None])
  assert knn.chance_level(groups) == pytest.approx(26 / 90)
  assert drawn == pytest.approx(26 / 90, abs=0.01)


def test_retrieval_counts_the_place_of_the_first_of_the_group():
  angles = np.deg2rad([0.0, 10.0, 25.0, 90.0, 100.0, 150.0])
  x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  found = knn.retrieve(x, np.array([0, 1, 0, 2, 2, 1]))
  # Places: 2, 5, 2, 1, 1, 4.
  assert found["recall_1"] == pytest.approx(2 / 6)
  assert found["recall_5"] == 1
  assert found["mrr"] == pytest.approx(
    (1 / 2 + 1 / 5 + 1 / 2 + 1 + 1 + 1 / 4) / 6
  )


@pytest.mark.parametrize("sizes", [(2,) * 9, (4, 4, 2, 1), (3, 1, 1, 1, 1)])
def test_chance_is_what_random_features_reach(sizes):
  groups = np.repeat(np.arange(len(sizes)), sizes)
  rng = np.random.default_rng(0)
  found = [
    knn.retrieve(rng.normal(size=(len(groups), 64)), groups) for _ in range(600)
  ]
  for name in ("recall_1", "recall_5", "mrr"):
    drawn = np.mean([one[name] for one in found])
    assert drawn == pytest.approx(found[0][f"chance_{name}"], abs=0.03)


def test_nothing_to_find_is_unknown():
  found = knn.retrieve(np.eye(4), np.arange(4))
  assert len(found) == 6 and np.isnan(list(found.values())).all()
