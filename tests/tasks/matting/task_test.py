import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.open_source import open_source
from sapiens2_jax import tasks
from sapiens2_jax.tasks import examples, registry
from tests.tasks import samples


@functools.cache
def compiled_loss():
  return jax.jit(samples.make_task("matting").loss)


def make_batch():
  rng = np.random.default_rng(0)
  alpha = np.zeros((1, 64, 48), np.uint8)
  alpha[:, 20:50, 10:40] = 255
  alpha[:, 20:24] //= 2
  image = rng.integers(0, 256, (1, 64, 48, 3), np.uint8)
  return {
    "image": jnp.asarray(image),
    "alpha": jnp.asarray(alpha),
    "foreground": jnp.zeros((1, 64, 48, 3), jnp.uint8),
    "has_foreground": jnp.zeros(1, bool),
  }


def make_target(batch):
  alpha = batch["alpha"][..., None].astype(jnp.float32) / 255
  opaque = alpha > 0.996
  colors = jnp.where(opaque, batch["image"].astype(jnp.float32) / 255, 0)
  return jnp.concatenate([colors, alpha], axis=-1)


def test_the_target_itself_costs_nothing():
  batch = make_batch()
  loss, parts = compiled_loss()({"matte": make_target(batch)}, batch)
  assert loss < 1e-5
  assert len(parts) == 6


def test_colours_count_where_they_are_known_and_alpha_everywhere():
  batch = make_batch()
  target = make_target(batch)
  soft = (batch["alpha"] > 0) & (batch["alpha"] < 254)
  wrong = target.at[..., :3].add(soft[..., None] * 0.5)
  _, parts = compiled_loss()({"matte": wrong}, batch)
  # Compiled, what is subtracted may be rounded otherwise.
  np.testing.assert_allclose(parts["loss_foreground_l1"], 0, atol=1e-7)
  wrong = target.at[..., 3].add(soft * 0.5)
  _, parts = compiled_loss()({"matte": wrong}, batch)
  expected = 0.5 * soft.mean()
  np.testing.assert_allclose(parts["loss_alpha_l1"], expected, rtol=1e-5)


def test_own_colours_count_everywhere():
  batch = make_batch()
  alpha = batch["alpha"][..., None].astype(jnp.float32) / 255
  colors = jnp.full((1, 64, 48, 3), 90, jnp.uint8) * (alpha > 0)
  colors = jnp.round(colors * alpha).astype(jnp.uint8)
  batch |= {"foreground": colors, "has_foreground": jnp.ones(1, bool)}
  target = jnp.concatenate([colors / 255, alpha], axis=-1)
  loss, _ = compiled_loss()({"matte": target}, batch)
  assert loss < 1e-5
  soft = (batch["alpha"] > 0) & (batch["alpha"] < 254)
  wrong = target.at[..., :3].add(soft[..., None] * 0.5)
  _, parts = compiled_loss()({"matte": wrong}, batch)
  np.testing.assert_allclose(
    parts["loss_foreground_l1"], 0.5 * soft.mean(), rtol=1e-5
  )


def cut_out(size=(90, 60)):
  """Labels of a person who is cut out, and the image as it is decoded."""
  _, labels = samples.ball(size)
  alpha = cv2.GaussianBlur(labels.alpha, (7, 7), 2.0)
  foreground = np.full((*size, 3), (200, 40, 90), np.uint8)
  foreground[alpha == 0] = 0
  share = alpha[..., None] / 255
  image = np.rint(share * foreground + (1 - share) * 255).astype(np.uint8)
  return image, Labels(alpha=alpha, foreground=foreground)


def test_the_truth_has_the_own_colours_where_they_are_known():
  image, labels = cut_out()
  found = registry.definition("matting").truth(image, labels)
  wanted = labels.foreground / 255 * (labels.alpha[..., None] / 255)
  np.testing.assert_allclose(found[..., :3], wanted, atol=1e-6)


def make_with_backgrounds(directory):
  cv2.imwrite(str(directory / "a.png"), np.full((30, 50, 3), 77, np.uint8))
  config = samples.load_config("matting")
  config.task.backgrounds = str(directory)
  return tasks.make_task(config)


def test_who_is_cut_out_gets_a_background_and_own_colours(tmp_path):
  task = make_with_backgrounds(tmp_path)
  image, labels = cut_out()
  seen = []
  for seed in range(12):
    rng = np.random.default_rng(seed)
    made = task.example(image, labels, rng)
    assert made["has_foreground"]
    nobody = made["alpha"] == 0
    assert not made["foreground"][nobody].any()
    seen += made["image"][nobody].tolist()
  # Grey, but for what rotations uncover, and for changes of colours.
  seen = np.array(seen)
  assert np.mean((seen > 250).all(-1)) < 0.6
  assert np.median(seen[(seen < 250).all(-1)]) == pytest.approx(77, abs=12)


def test_who_is_cut_out_is_not_learned_before_white():
  task = samples.make_task("matting")
  image, labels = cut_out()
  rng = np.random.default_rng(0)
  with pytest.raises(UnusableExample, match="no task.backgrounds"):
    task.example(image, labels, rng)
  # Neither is anything wrong with a photograph that has both.
  image = np.where(labels.alpha[..., None] < 255, 30, image).astype(np.uint8)
  made = task.example(image, labels, rng)
  assert made["has_foreground"] and made["foreground"].any()
  labels = Labels(alpha=labels.alpha)
  made = task.example(image, labels, rng)
  assert not made["has_foreground"] and not made["foreground"].any()


def test_a_list_of_rgba_images_trains_with_backgrounds_alone(tmp_path):
  image, labels = cut_out()
  rgba = np.dstack([labels.foreground, labels.alpha])
  (tmp_path / "in").mkdir()
  for number in range(3):
    made = np.ascontiguousarray(np.roll(rgba, number, 0)[..., [2, 1, 0, 3]])
    cv2.imwrite(str(tmp_path / f"in/{number}.png"), made)
  lines = "".join(f"{number}.png\n" for number in range(3))
  (tmp_path / "in/list.txt").write_text(lines)
  source = open_source(f"matting:{tmp_path}/in/list.txt")
  task = samples.make_task("matting")
  examples.check_labels(source, task, "data.path=x")
  with pytest.raises(ValueError, match="from none of the 3 .*backgrounds"):
    examples.check_examples(source, examples.TaskExamples(task), "data.path=x")
  task = make_with_backgrounds(tmp_path)
  examples.check_examples(source, examples.TaskExamples(task), "data.path=x")


def test_finish_undoes_the_stretching():
  task = samples.make_task("matting")
  image, labels = samples.ball((50, 120))
  (prepared,) = task.preprocess(image, labels)
  assert prepared.image.shape == (64, 48, 3)
  ramp = np.linspace(-0.1, 1.1, 48, dtype=np.float32)
  matte = np.broadcast_to(ramp[:, None], (64, 48, 4))
  found = task.postprocess([{"matte": matte}], [prepared])
  assert found.shape == (50, 120, 4)
  assert found.min() == 0 and found.max() == 1
  np.testing.assert_allclose(found[7, 60], 0.505, atol=0.02)


def test_metric_is_that_of_numpy():
  task = samples.make_task("matting")
  metric = task.metric()
  errors, both, either = [], 0, 0
  for size in ((40, 30), (20, 60)):
    _, labels = samples.ball(size)
    noise = np.random.default_rng(0).random(size)
    prediction = np.zeros((*size, 4), np.float32)
    prediction[..., 3] = noise
    metric.add(prediction, labels)
    alpha = prediction[..., 3].astype(np.float64)
    errors.append((alpha - labels.alpha / 255).ravel())
    both += np.sum((alpha >= 0.5) & labels.mask)
    either += np.sum((alpha >= 0.5) | labels.mask)
  error = np.concatenate(errors)
  found = metric.result()
  np.testing.assert_allclose(found["mad"], np.abs(error).mean())
  np.testing.assert_allclose(found["mse"], (error**2).mean())
  np.testing.assert_allclose(found["sad"], np.abs(error).sum() / 2000)
  np.testing.assert_allclose(found["iou"], both / either)


def test_nobody_lets_the_checkerboard_through():
  task = samples.make_task("matting")
  matte = np.zeros((40, 50, 4), np.float32)
  matte[:, 25:] = [1, 0, 0, 1]
  picture = task.draw(np.zeros((40, 50, 3), np.uint8), matte)
  assert (picture[:, 25:] == [255, 0, 0]).all()
  assert {*picture[:, :25, 0].ravel()} == {127, 204}


def test_colours_are_measured_where_labels_have_them():
  metric = samples.make_task("matting").metric()
  rng = np.random.default_rng(0)
  alpha = rng.integers(0, 256, (6, 4), np.uint8)
  colors = rng.integers(0, 256, (6, 4, 3), np.uint8)
  right = np.dstack([colors / 255 * (alpha / 255)[..., None], alpha / 255])
  metric.add(right, Labels(alpha=alpha))
  assert np.isnan(metric.result()["l1_foreground"])  # Nobody knows them.
  metric.add(right, Labels(alpha=alpha, foreground=colors))
  assert metric.result()["l1_foreground"] == 0
  wrong = right.copy()
  wrong[0, 0, 1] += 0.3
  metric.add(wrong, Labels(alpha=alpha, foreground=colors))
  expected = 0.3 / (2 * colors.size)
  np.testing.assert_allclose(metric.result()["l1_foreground"], expected)
  assert metric.result()["mad"] == 0
