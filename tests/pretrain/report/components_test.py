import numpy as np
import pytest

from sapiens2_jax.pretrain.report import components as components_lib


def test_components_of_a_plane_are_found_with_their_shares():
  rng = np.random.default_rng(0)
  axes = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
  weights = rng.normal(size=(500, 2))
  weights -= weights.mean(axis=0)
  weights = np.linalg.svd(weights, full_matrices=False)[0] * [2.0, 1.0]
  found = components_lib.fit_components(weights @ axes + 5.0, count=3)
  np.testing.assert_allclose(found.explained, [0.8, 0.2, 0.0], atol=1e-10)
  np.testing.assert_allclose(
    np.abs(found.axes[:2] @ axes.T), np.eye(2), atol=1e-8
  )
  np.testing.assert_allclose(found.mean, (weights @ axes + 5.0).mean(0))


def test_component_signs_do_not_depend_on_the_solver():
  x = np.random.default_rng(1).normal(size=(50, 4))
  axes = components_lib.fit_components(x).axes
  assert np.all(axes[np.arange(3), np.abs(axes).argmax(axis=1)] > 0)


def test_painted_features_fill_zero_to_one():
  x = np.random.default_rng(2).normal(size=(3, 10, 20, 8)).astype(np.float32)
  components = components_lib.fit_components(x.reshape(-1, 8))
  painted = components_lib.paint(x, components)
  assert painted.shape == (3, 10, 20, 3)
  assert painted.min() == 0 and painted.max() == 1
  inside = np.mean((painted > 0) & (painted < 1))
  assert inside == pytest.approx(0.98, abs=0.01)


def test_equal_features_paint_without_dividing_by_zero():
  x = np.ones((5, 4))
  components = components_lib.fit_components(x)
  assert np.isfinite(components_lib.paint(x, components)).all()
  assert np.isfinite(components.explained).all()
