"""What all tasks of maps promise: shapes, losses, predictions, pictures."""

import dataclasses
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax import tasks
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.tasks import base
from tests.head_sizes import num_params
from tests.tasks import samples
from tests.tasks.task_configs import SIZES, load_task_config

NAMES = ("albedo", "matting", "normal", "pointmap")


def random_outputs(task, count):
  """Of the shapes that the head makes, seen without running it."""
  rows, cols = (side // 16 for side in task.image_size)
  features = jax.ShapeDtypeStruct((count, rows, cols, 192), jnp.float32)
  shapes, _ = jax.eval_shape(
    task.head().init_with_output, jax.random.key(0), features
  )
  rng = np.random.default_rng(0)
  return {
    name: rng.uniform(0.1, 0.9, x.shape).astype(x.dtype)
    for name, x in shapes.items()
  }


@functools.cache
def example(name, seed=0, size=(64, 48)):
  task = samples.make_task(name, size)
  return task.example(*samples.ball(), np.random.default_rng(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 48), (32, 64)])
def test_examples_have_the_promised_arrays(name, size):
  shapes = samples.make_task(name, size).element_spec()
  for seed in range(8):
    found = example(name, seed, size)
    assert set(found) == set(shapes)
    for key, (shape, dtype) in shapes.items():
      assert np.shape(found[key]) == shape, key
      assert np.asarray(found[key]).dtype == dtype, key
      assert np.isfinite(found[key]).all()


@pytest.mark.parametrize("name", NAMES)
def test_examples_depend_on_the_generator_alone(name):
  task = samples.make_task(name)
  again = pickle.loads(pickle.dumps(task))
  image, labels = samples.ball()
  before = image.copy(), labels.alpha.copy()
  found = again.example(image, labels, np.random.default_rng(3))
  for key, array in example(name, 3).items():
    np.testing.assert_array_equal(found[key], array)
  np.testing.assert_array_equal(image, before[0])
  np.testing.assert_array_equal(labels.alpha, before[1])
  other = example(name, 4)
  assert any((other[key] != found[key]).any() for key in other)


def batch(name, count=2):
  examples = [example(name, seed) for seed in range(count)]
  return {key: jnp.stack([one[key] for one in examples]) for key in examples[0]}


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_what_the_head_makes_falls_along_its_gradient(name):
  task = samples.make_task(name)
  outputs = jax.tree.map(jnp.asarray, random_outputs(task, 2))
  step = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
  (first, parts), slope = step(outputs, batch(name))
  assert first.shape == () and first.dtype == jnp.float32
  assert all(part.startswith("loss_") for part in parts)
  np.testing.assert_allclose(first, sum(parts.values()), rtol=1e-5)
  size = sum(float(jnp.sum(x**2)) for x in slope.values())
  assert np.isfinite(size) and all(np.any(x) for x in slope.values())
  moved = {
    key: outputs[key] - 1e-3 * first / size * slope[key] for key in outputs
  }
  (last, _), _ = step(moved, batch(name))
  assert last < first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(90, 60), (50, 80)])
def test_predictions_and_pictures_have_the_size_of_the_image(name, size):
  task = samples.make_task(name)
  image, labels = samples.ball(size)
  labels = dataclasses.replace(labels, foreground=labels.albedo)
  prepared = task.preprocess(image, None)
  assert [one.image.shape for one in prepared] == [(64, 48, 3)]
  outputs = {key: x[0] for key, x in random_outputs(task, 1).items()}
  prediction = task.postprocess([outputs], prepared)
  picture = task.draw(image, prediction)
  assert picture.shape == image.shape and picture.dtype == np.uint8
  metric = task.metric()
  assert np.isnan(list(metric.result().values())).all()
  metric.add(prediction, labels)
  numbers = metric.result()
  assert all(type(x) is float and np.isfinite(x) for x in numbers.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_config(name, size):
  config = load_task_config(name, size)
  task = tasks.make_task(config)
  assert task.name == name and task.needs[0] == "alpha"
  rows, cols = (side // 16 for side in config.data.image_size)
  count = num_params(task.head(), (rows, cols, ARCHITECTURES[size].embed_dim))
  # Published with the release.
  published = {
    "normal": {"0.4b": 57907363, "1b": 83860131, "5b": 249455299},
    "pointmap": {"0.4b": 133224996, "0.8b": 153082660, "5b": 281442884},
    "albedo": {"0.8b": 70296979, "1b": 83863443, "5b": 249244179},
  }
  assert count == published.get(name, {}).get(size, count)
  assert (count < 1_500_000) == (size == "toy")


def test_unknown_names_are_refused():
  config = samples.load_config("normal")
  config.task.name = "normals"
  with pytest.raises(ValueError, match="did you mean normal"):
    tasks.make_task(config)
  with pytest.raises(ValueError, match="unknown size '2b'"):
    load_task_config("normal", "2b")


def test_a_head_that_ends_at_another_size_is_refused():
  config = samples.load_config("normal")
  config.head.upsample_channels = (8, 8)
  with pytest.raises(ValueError, match=r"enlarges 4 times.* need 4 widths"):
    tasks.make_task(config)
  with pytest.raises(ValueError, match=r"image_size=\(60, 48\) must be whole"):
    samples.make_task("normal", (60, 48))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
  ("share", "message"), [(0.001, "fewer than 16"), (1.0, "more than 96%")]
)
def test_images_of_nobody_or_nothing_else_are_unusable(name, share, message):
  image, labels = samples.ball((64, 48))
  mask = np.zeros(image.shape[:2], bool)
  mask.flat[: int(share * mask.size)] = True
  filled = labels
  if share == 1.0:
    filled = dataclasses.replace(
      labels,
      normal=np.ones_like(labels.normal),
      depth=np.ones_like(labels.depth),
    )
  filled = dataclasses.replace(
    filled, alpha=np.where(mask, 255, 0).astype(np.uint8)
  )
  task = samples.make_task(name)
  seeds = range(200)
  with pytest.raises(base.UnusableExample, match=message):
    # One whose view is the image itself, not a part of it.
    for seed in seeds:
      task.example(image, filled, np.random.default_rng(seed))
