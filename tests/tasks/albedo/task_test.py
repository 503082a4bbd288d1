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


def test_the_picture_alone_is_cut_off_before_it_is_resized():
  task = samples.make_task("albedo")
  image = np.zeros((64, 96, 3), np.uint8)  # Shown as 32 x 48, then doubled.
  found = np.zeros((64, 48, 3), np.float32)
  found[:, 24:] = 3
  prepared = task.preprocess(image, None)
  prediction = task.postprocess([{"albedo": found}], prepared)
  # Pixels 46 to 49 lie at 22.75, 23.25, 23.75 and 24.25 of the columns.
  row = prediction.colors[30, 46:50, 0]
  np.testing.assert_allclose(row, [0, 0.75, 2.25, 3], atol=1e-6)
  row = prediction.picture[30, 46:50, 0]
  np.testing.assert_allclose(row, [0, 0.25, 0.75, 1], atol=1e-6)
  drawn = task.draw(image, prediction)
  assert drawn[30, 46:50, 0].tolist() == [0, 63, 191, 255]


def test_one_colour_everywhere_is_unusable():
  task = samples.make_task("albedo", (96, 64))
  image, labels = samples.ball((96, 64))
  plain = np.zeros_like(labels.albedo)
  plain[labels.mask] = 120
  labels = dataclasses.replace(labels, albedo=plain)
  for seed in range(5):
    with pytest.raises(UnusableExample, match="same everywhere"):
      task.example(image, labels, np.random.default_rng(seed))
