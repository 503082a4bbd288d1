import numpy as np

from sapiens2_jax.tasks.pointmap.metric import PointMetric, sobel_normals


def plane(size, slope):
  rows, cols = np.indices(size).astype(np.float32)
  return np.stack([cols, rows, slope * cols], axis=-1)


def test_normals_of_a_plane_are_the_plane_s():
  found = sobel_normals(plane((9, 12), 0.5))[2:-2, 2:-2]
  expected = np.array([-0.5, 0, 1]) / np.sqrt(1.25)
  np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape))


def test_numbers_are_those_of_numpy_over_both_images():
  rng = np.random.default_rng(0)
  metric, errors = PointMetric(), []
  for size in ((9, 12), (14, 7)):
    target = rng.normal(size=(*size, 3)).astype(np.float32)
    prediction = target + rng.normal(0, 0.1, target.shape).astype(np.float32)
    mask = rng.random(size) < 0.5
    metric.add(prediction, target, mask)
    errors.append((prediction - target)[mask].astype(np.float64))
  error = np.concatenate(errors)
  distance = np.sqrt((error**2).sum(1))
  found = metric.result()
  expected = {
    "l2": distance.mean(),
    "rmse": np.sqrt(np.mean(distance**2)),
    "mae_x": np.abs(error[:, 0]).mean(),
    "mae_z": np.abs(error[:, 2]).mean(),
    "within_0.05": np.mean(distance < 0.05),
    "within_0.20": np.mean(distance < 0.2),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, err_msg=name)
  assert 0 < found["normal_mean"] < 180


def test_a_slope_shows_in_the_normals_and_a_shift_does_not():
  mask = np.zeros((9, 12), bool)
  mask[3:6, 3:9] = True
  metric = PointMetric()
  metric.add(plane((9, 12), 0) + np.float32([0, 0, 4]), plane((9, 12), 0), mask)
  assert metric.result()["l2"] == 4 and metric.result()["normal_mean"] < 1e-4
  metric = PointMetric()
  metric.add(plane((9, 12), 1), plane((9, 12), 0), mask)
  found = metric.result()
  np.testing.assert_allclose(found["normal_mean"], 45, atol=1e-3)
  assert found["normal_within_30"] == 0
