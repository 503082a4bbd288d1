import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.tasks.pose import losses as keypoints
from tests import golden

GOLDEN = golden.load("golden_losses")


def rnd(shape, seed):
  return golden.rnd(shape, seed).astype(np.float32)


def test_heatmap_loss_equals_that_of_the_public_release():
  heatmaps = np.moveaxis(0.5 * rnd((2, 8, 16, 12), 3008), 1, -1)
  targets = np.moveaxis(0.5 + 0.5 * rnd((2, 8, 16, 12), 3009), 1, -1)
  weights = (rnd((2, 8), 3010) > -0.3).astype(np.float32)
  loss = keypoints.heatmap_loss(*map(jnp.asarray, (heatmaps, targets, weights)))
  assert loss == pytest.approx(GOLDEN["pose_mse"]["value"], rel=2e-6)


def test_the_right_heatmaps_cost_nothing_and_hit_every_keypoint():
  rng = np.random.default_rng(0)
  points = jnp.asarray(rng.uniform(0, [39, 23], (2, 5, 2)), jnp.float32)
  weights = jnp.asarray([[1, 1, 0, 1, 1], [0, 0, 1, 1, 1]], jnp.float32)
  heatmaps = keypoints.make_targets(points, weights, (24, 40))
  assert keypoints.heatmap_loss(heatmaps, heatmaps, weights) == 0
  assert keypoints.peak_accuracy(heatmaps, points, weights) == 1


def test_accuracy_divides_x_by_the_height_and_y_by_the_width():
  heatmaps = np.zeros((1, 40, 20, 2), np.float32)
  heatmaps[0, 10, 10, :] = 1  # at (10, 10)
  points = jnp.asarray([[[8.1, 10], [10, 8.1]]], jnp.float32)  # 2 pixels off
  near = keypoints.peak_accuracy(
    jnp.asarray(heatmaps), points, jnp.ones((1, 2)), threshold=0.06
  )
  assert near == 0.5


def test_keypoints_without_weight_change_neither_loss_nor_accuracy():
  rng = np.random.default_rng(1)
  heatmaps = jnp.asarray(rng.standard_normal((1, 8, 6, 3)), jnp.float32)
  points = jnp.asarray([[[1, 1], [2, 2], [3, 3]]], jnp.float32)
  weights = jnp.asarray([[1, 0, 1]], jnp.float32)
  targets = keypoints.make_targets(points, weights, (8, 6))
  other = heatmaps.at[..., 1].set(100)
  for function, args in (
    (keypoints.heatmap_loss, (targets, weights)),
    (keypoints.peak_accuracy, (points, weights)),
  ):
    assert function(heatmaps, *args) == function(other, *args)


def test_no_keypoint_at_all_gives_zero_accuracy():
  maps, points = jnp.ones((1, 8, 6, 2)), jnp.zeros((1, 2, 2))
  assert keypoints.peak_accuracy(maps, points, jnp.zeros((1, 2))) == 0
