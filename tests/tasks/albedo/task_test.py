import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.tasks import geometric
from sapiens2_jax.tasks.base import UnusableExample
from tests.tasks import samples


def test_colours_of_the_image_do_not_change_but_for_noise():
  task = samples.make_task("albedo", (96, 64))
  image, labels = samples.ball((96, 64))
  image[...] = labels.albedo
  for seed in range(8):
    found = task.example(image, labels, np.random.default_rng(seed))
    # Medians: at its edge the image is mixed with the black around it.
    error = (found["image"].astype(int) - found["albedo"])[found["mask"]]
    assert np.median(np.abs(error)) < 5 and abs(np.median(error)) <= 1


def test_the_target_itself_costs_nothing():
  task = samples.make_task("albedo")
  image, labels = samples.ball()
  one = task.example(image, labels, np.random.default_rng(0))
  batch = {key: jnp.asarray(value)[None] for key, value in one.items()}
  target = batch["albedo"].astype(jnp.float32) / 255
  loss = jax.jit(task.loss)
  assert loss({"albedo": target}, batch)[0] < 1e-6
  assert loss({"albedo": target + 0.1}, batch)[0] > 0.6


def test_the_labels_themselves_are_predicted_almost_without_an_error():
  task = samples.make_task("albedo", (96, 64))
  image, labels = samples.ball((96, 64))
  prepared = task.preprocess(image, None)
  boxed = geometric.letterbox_labels(labels, (96, 64), math.floor)
  outputs = [{"albedo": boxed.albedo.astype(np.float32) / 255}]
  metric = task.metric()
  metric.add(task.postprocess(outputs, prepared), labels)
  assert metric.result()["mae"] == 0


def test_predictions_are_cut_off_in_the_picture_only():
  task = samples.make_task("albedo")
  image, _ = samples.ball((64, 48))
  outputs = [{"albedo": np.full((64, 48, 3), 1.5, np.float32)}]
  prediction = task.postprocess(outputs, task.preprocess(image, None))
  assert (prediction == 1.5).all()
  assert (task.draw(image, prediction) == 255).all()


def test_one_colour_everywhere_is_unusable():
  task = samples.make_task("albedo", (96, 64))
  image, labels = samples.ball((96, 64))
  plain = np.zeros_like(labels.albedo)
  plain[labels.mask] = 120
  labels = dataclasses.replace(labels, albedo=plain)
  for seed in range(5):
    with pytest.raises(UnusableExample, match="same everywhere"):
      task.example(image, labels, np.random.default_rng(seed))
