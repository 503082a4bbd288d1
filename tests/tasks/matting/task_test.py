import functools

import jax
import jax.numpy as jnp
import numpy as np

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
  return {"image": jnp.asarray(image), "alpha": jnp.asarray(alpha)}


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
