import numpy as np
import pytest

from sapiens2_jax.report import features


def test_components_of_a_plane_are_found_with_their_shares():
  rng = np.random.default_rng(0)
  axes = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
  weights = rng.normal(size=(500, 2))
  weights -= weights.mean(axis=0)
  weights = np.linalg.svd(weights, full_matrices=False)[0] * [2.0, 1.0]
  found = features.fit_components(weights @ axes + 5.0, count=3)
  np.testing.assert_allclose(found.explained, [0.8, 0.2, 0.0], atol=1e-10)
  np.testing.assert_allclose(
    np.abs(found.axes[:2] @ axes.T), np.eye(2), atol=1e-8
  )
  np.testing.assert_allclose(found.mean, (weights @ axes + 5.0).mean(0))


def test_component_signs_do_not_depend_on_the_solver():
  x = np.random.default_rng(1).normal(size=(50, 4))
  axes = features.fit_components(x).axes
  assert np.all(axes[np.arange(3), np.abs(axes).argmax(axis=1)] > 0)


def test_painted_features_fill_zero_to_one():
  x = np.random.default_rng(2).normal(size=(3, 10, 20, 8)).astype(np.float32)
  components = features.fit_components(x.reshape(-1, 8))
  painted = features.paint(x, components)
  assert painted.shape == (3, 10, 20, 3)
  assert painted.min() == 0 and painted.max() == 1
  inside = np.mean((painted > 0) & (painted < 1))
  assert inside == pytest.approx(0.98, abs=0.01)


def test_equal_features_paint_without_dividing_by_zero():
  x = np.ones((5, 4))
  components = features.fit_components(x)
  assert np.isfinite(features.paint(x, components)).all()
  assert np.isfinite(components.explained).all()


def test_neighbors_are_by_angle_and_never_oneself():
  angles = np.deg2rad([0.0, 10.0, 30.0, 180.0])
  x = np.stack([np.cos(angles), np.sin(angles)], 1) * [[1], [9], [2], [3]]
  ids, similarities = features.find_neighbors(x, 2)
  np.testing.assert_array_equal(ids, [[1, 2], [0, 2], [1, 0], [2, 1]])
  np.testing.assert_allclose(similarities[0], np.cos(angles[[1, 2]]))


def test_neighbors_are_fewer_when_there_are_fewer_rows():
  ids, _ = features.find_neighbors(np.eye(3), 10)
  assert ids.shape == (3, 2)
  ids, _ = features.find_neighbors(np.ones((1, 2)), 4)
  assert np.isnan(features.same_group_share(ids, np.zeros(1, int)))


def test_share_counts_only_the_nearest_neighbor():
  ids = np.array([[1, 2], [2, 0], [3, 0], [2, 1]])
  assert features.same_group_share(ids, np.array([0, 0, 1, 1])) == 0.75


def test_chance_level_equals_random_neighbors():
  groups = np.repeat([0, 1, 2], [4, 4, 2])
  rng = np.random.default_rng(0)
  ids = [
    rng.choice(np.delete(np.arange(10), i), 4000) for i in range(len(groups))
  ]
  drawn = np.mean(groups[np.array(ids)] == groups[:, None])
  assert features.chance_level(groups) == pytest.approx(26 / 90)
  assert drawn == pytest.approx(26 / 90, abs=0.01)
