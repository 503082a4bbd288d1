import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import UnusableExample
from sapiens2_jax.tasks.pointmap import task as pointmap
from tests.tasks import samples


@functools.cache
def compiled_loss():
  return jax.jit(samples.make_task("pointmap").loss)


def make_batch(task, seeds=(0, 1)):
  image, labels = samples.ball()
  examples = [
    task.example(image, labels, np.random.default_rng(seed)) for seed in seeds
  ]
  return {key: jnp.stack([e[key] for e in examples]) for key in examples[0]}


def unproject(batch):
  return pointmap.unproject(batch["depth"], batch["intrinsics"])


def test_targets_are_canonical_points_of_the_ball():
  task = samples.make_task("pointmap")
  image, labels = samples.ball()
  for seed in range(8):
    found = task.example(image, labels, np.random.default_rng(seed))
    k, scale = found["intrinsics"], found["scale"]
    np.testing.assert_allclose(scale, 48 / k[0, 0], rtol=1e-6)
    batch = {key: jnp.asarray(value)[None] for key, value in found.items()}
    points = np.asarray(unproject(batch))[0][found["mask"]] / scale
    radius = 0.3 * 60 / (1.2 * 90) * 2.5
    side = np.sign(points[:, 0].mean())  # mirrored or not
    distance = np.linalg.norm(points - [side * 0.05, -0.1, 2.5], axis=-1)
    # Of a pixel: the ball's depth is that of the nearest one.
    assert np.median(np.abs(distance - radius)) < 0.03


def test_the_target_itself_costs_almost_nothing():
  task = samples.make_task("pointmap")
  batch = make_batch(task)
  outputs = {"pointmap": unproject(batch), "scale": batch["scale"]}
  loss, parts = compiled_loss()(outputs, batch)
  assert loss < 1e-4
  outputs["pointmap"] = 1.1 * outputs["pointmap"]
  outputs["scale"] = outputs["scale"] + 0.5
  loss, parts = compiled_loss()(outputs, batch)
  np.testing.assert_allclose(parts["loss_scale"], 2.0, rtol=1e-5)
  assert parts["loss_silog"] > 0.05 and parts["loss_l1"] > 0.1
  # A scale leaves rays and normals where they are.
  assert parts["loss_intrinsics"] < 1e-4 and parts["loss_surface"] < 1e-3


def test_far_points_cost_no_more_than_four():
  task = samples.make_task("pointmap")
  batch = make_batch(task)
  points = unproject(batch)
  wild = points * jnp.linspace(-90, 90, points.shape[1])[:, None, None]
  _, parts = compiled_loss()({"pointmap": wild, "scale": batch["scale"]}, batch)
  for name in ("loss_l1", "loss_multiscale", "loss_shift_invariant"):
    assert parts[name] == 4, name


def test_finish_gives_metres_and_metric_sees_canonical_points():
  task = samples.make_task("pointmap")
  image, labels = samples.ball()
  prepared = task.preprocess(image, None)
  canonical, mask = task.letterbox(labels)
  scale = np.float32(48 / (1.2 * 90 * prepared[0].context.width / 60))
  outputs = [{"pointmap": canonical, "scale": scale}]
  prediction = task.postprocess(outputs, prepared)
  middle = labels.mask & (labels.normal[..., 2] > 0.8)
  error = (prediction.points - labels.pointmap())[middle]
  assert np.abs(error).max() < 0.03
  metric = task.metric()
  metric.add(prediction, labels)
  found = metric.result()
  assert found["l2"] == 0 and found["within_0.05"] == 1
  shifted = dataclasses.replace(
    prediction, canonical=canonical + np.float32([0, 0, 0.3])
  )
  metric.add(shifted, labels)
  np.testing.assert_allclose(metric.result()["mae_z"], 0.15, rtol=1e-5)
  assert metric.result()["within_0.20"] == 0.5


def test_points_are_smoothed_only_where_they_are_enlarged():
  task = samples.make_task("pointmap", (64, 48))
  points = np.zeros((64, 48, 3), np.float32)
  points[32, 24] = 1
  for size, is_smooth in (((32, 24), False), ((128, 96), True)):
    prepared = task.preprocess(np.zeros((*size, 3), np.uint8), None)
    outputs = [{"pointmap": points, "scale": np.float32(1)}]
    found = task.postprocess(outputs, prepared).points
    assert found.shape == (*size, 3)
    assert (found.max() < 0.2) == is_smooth


def test_a_scale_of_nothing_divides_nothing_by_zero():
  task = samples.make_task("pointmap")
  prepared = task.preprocess(np.zeros((64, 48, 3), np.uint8), None)
  outputs = [{"pointmap": np.ones((64, 48, 3), np.float32), "scale": -1.0}]
  np.testing.assert_allclose(task.postprocess(outputs, prepared).points, 1000)


def test_people_too_near_are_unusable():
  task = samples.make_task("pointmap")
  image, labels = samples.ball()
  near = dataclasses.replace(labels, depth=labels.depth / 100)
  with pytest.raises(UnusableExample, match="too near"):
    task.example(image, near, np.random.default_rng(0))


def test_unknown_depth_leaves_the_mask():
  task = samples.make_task("pointmap")
  image, labels = samples.ball()
  labels.depth[:40] = 0
  found = task.example(image, labels, np.random.default_rng(0))
  assert (found["depth"][found["mask"]] > 0).all()
  assert not found["depth"][~found["mask"]].any()


def test_near_is_bright():
  task = samples.make_task("pointmap")
  points = np.ones((20, 30, 3), np.float32)
  points[:, :15, 2] = 4
  picture = task.draw(
    np.zeros((20, 30, 3), np.uint8), pointmap.Points(points, points, 1.0)
  )
  assert picture[0, -1].sum() > picture[0, 0].sum() + 200


def test_points_of_the_loss_are_those_of_the_labels():
  _, labels = samples.ball()
  found = pointmap.unproject(
    jnp.asarray(labels.depth)[None], jnp.asarray(labels.intrinsics)[None]
  )
  expected = Labels(depth=labels.depth, intrinsics=labels.intrinsics).pointmap()
  np.testing.assert_allclose(found[0], expected, atol=1e-5)
