import functools

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sapiens2_jax.tasks.segmentation import class_sets
from sapiens2_jax.tasks.segmentation import losses as segmentation
from tests import golden

WEIGHTS = class_sets.make("").weights
GOLDEN = golden.load("golden_losses")


def rnd(shape, seed):
  return golden.rnd(shape, seed).astype(np.float32)


def golden_inputs():
  parts = np.floor((rnd((2, 16, 12), 3005) + 1) / 2 * 29)
  parts[rnd((2, 16, 12), 3006) > 0.7] = 255
  parts[:, :4] = 0
  logits = np.moveaxis(3 * rnd((2, 29, 16, 12), 3007), 1, -1)
  return jnp.asarray(logits), jnp.asarray(parts.astype(np.uint8))


def test_cross_entropy_equals_that_of_the_public_release():
  loss = segmentation.cross_entropy(*golden_inputs(), WEIGHTS)
  assert loss == pytest.approx(GOLDEN["seg_ce"]["value"], rel=2e-6)


def test_dice_equals_that_of_the_public_release():
  losses = segmentation.dice_losses(*golden_inputs())
  np.testing.assert_allclose(losses, GOLDEN["seg_dice"]["value"], rtol=2e-6)


def test_the_right_logits_cost_nothing():
  rng = np.random.default_rng(0)
  parts = rng.integers(0, 29, (2, 8, 6)).astype(np.uint8)
  parts[0, 0, 0] = 255
  logits = jnp.asarray(50 * np.eye(256, 29, dtype=np.float32)[parts])
  parts = jnp.asarray(parts)
  assert segmentation.cross_entropy(logits, parts, WEIGHTS) < 1e-6
  assert segmentation.dice_losses(logits, parts).max() < 1e-6
  assert segmentation.pixel_accuracy(logits, parts) == 1


def test_unknown_pixels_change_nothing_but_count_in_the_mean():
  logits, parts = golden_inputs()
  other = jnp.where((parts == 255)[..., None], -logits, logits)
  cross_entropy = functools.partial(segmentation.cross_entropy, weights=WEIGHTS)
  for loss in (cross_entropy, segmentation.dice_losses):
    np.testing.assert_array_equal(loss(logits, parts), loss(other, parts))
  accuracy = segmentation.pixel_accuracy
  assert accuracy(logits, parts) == accuracy(other, parts)
  wide = jnp.pad(parts, ((0, 0), (0, 0), (0, 12)), constant_values=255)
  half = segmentation.cross_entropy(
    jnp.concatenate([logits] * 2, 2), wide, WEIGHTS
  )
  full = segmentation.cross_entropy(logits, parts, WEIGHTS)
  assert half == pytest.approx(float(full) / 2, rel=1e-5)


def test_an_image_without_foreground_has_no_dice_loss():
  logits = jnp.ones((1, 4, 3, 29))
  parts = jnp.zeros((1, 4, 3), jnp.uint8).at[0, 0].set(255)
  assert segmentation.dice_losses(logits, parts)[0] == 0
  unknown = jnp.full_like(parts, 255)
  assert segmentation.pixel_accuracy(logits, unknown) == 0


@pytest.mark.parametrize("size", [(16, 12), (40, 15), (7, 5)])
def test_logits_are_resized_as_torch_does(size):
  logits = np.random.default_rng(0).standard_normal((2, 16, 12, 4))
  found = segmentation.match_labels(jnp.asarray(logits, jnp.bfloat16), size)
  assert found.dtype == jnp.float32
  found = segmentation.match_labels(jnp.asarray(logits, jnp.float32), size)
  expected = torch.nn.functional.interpolate(
    torch.tensor(logits).permute(0, 3, 1, 2), size, mode="bilinear"
  )
  expected = expected.permute(0, 2, 3, 1)
  np.testing.assert_allclose(found, expected, atol=1e-5)
