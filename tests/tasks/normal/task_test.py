import numpy as np

from sapiens2_jax.tasks import geometric
from tests.tasks import samples


def test_targets_are_unit_vectors_inside_the_mask_and_zero_outside():
  task = samples.make_task("normal")
  image, labels = samples.ball()
  for seed in range(8):
    found = task.example(image, labels, np.random.default_rng(seed))
    length = np.linalg.norm(found["normal"], axis=-1)
    np.testing.assert_allclose(length, found["mask"], atol=1e-4)
    # The ball's left looks to the left, whether mirrored or not.
    rows, cols = np.nonzero(found["mask"])
    x = found["normal"][rows, cols, 0]
    assert np.corrcoef(cols, x)[0, 1] > 0.9


def test_a_pixel_without_a_normal_leaves_the_mask():
  task = samples.make_task("normal")
  image, labels = samples.ball()
  labels.normal[40:50] = 0
  metric = task.metric()
  metric.add(np.where(labels.normal, labels.normal, 9), labels)
  assert metric.result()["mean"] < 0.1
  found = task.example(image, labels, np.random.default_rng(0))
  assert found["normal"][found["mask"]].any(axis=-1).all()


def test_the_labels_themselves_are_predicted_without_an_error():
  task = samples.make_task("normal")
  image, labels = samples.ball((130, 70))
  prepared = task.preprocess(image, None)
  boxed = geometric.letterbox_labels(
    labels, (64, 48), prepared[0].context and int
  )
  prediction = task.postprocess([{"normal": 3 * boxed.normal}], prepared)
  metric = task.metric()
  metric.add(prediction, labels)
  found = metric.result()
  # Edges of the ball are mixed with the nothing beside them.
  assert found["median"] < 3 and found["within_11.25"] > 80


def test_metric_is_of_angles_in_percent():
  task = samples.make_task("normal")
  _, labels = samples.ball()
  turned = labels.normal[..., [1, 0, 2]] * np.float32([-1, 1, 1])
  angle = np.degrees(
    np.arccos(np.sum(turned * labels.normal, -1)[labels.mask].clip(-1, 1))
  )
  metric = task.metric()
  metric.add(turned * 0.5, labels)
  found = metric.result()
  np.testing.assert_allclose(found["mean"], angle.mean(), rtol=1e-3)
  expected = 100 * np.mean(angle < 22.5)
  np.testing.assert_allclose(found["within_22.5"], expected, atol=0.1)


def test_picture_shows_the_camera_s_direction_as_blue():
  task = samples.make_task("normal")
  prediction = np.zeros((3, 4, 3), np.float32)
  prediction[..., 2] = 1
  picture = task.draw(np.zeros((3, 4, 3), np.uint8), prediction)
  assert (picture == [127, 127, 255]).all()
