"""What is drawn for a view, and that it is what is then done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.pretrain import keys
from sapiens2_jax.pretrain.photometric import (
  Photometric,
  apply_photometric,
  draw_photometric,
)

RANGES = dict(
  brightness=0.4,
  contrast=0.4,
  saturation=0.2,
  hue=0.1,
  blur_sigma=(0.1, 2.0),
)
NAMES = ("jitter", "grayscale", "blur", "solarize")
# Smooth, with flat and saturated parts, not square.
WALK = np.random.default_rng(0).normal(0, 9, (3, 40, 24))
PIXELS = jnp.clip(np.cumsum(WALK, axis=1) + 128, 0, 255).astype(int) / 255


def draw(rng, **probabilities):
  chances = {f"{n}_probability": probabilities.get(n, 0.0) for n in NAMES}
  return draw_photometric(rng, **RANGES, **chances)


def augment(rng, **probabilities):
  return apply_photometric(PIXELS, draw(rng, **probabilities))


def test_draws_of_a_key_stay_what_they_are():
  rng = jax.random.key(0)
  view = keys.example_keys(
    rng, keys.PHOTOMETRIC, np.array([5]), np.array([2]), 4
  )[0, 1]
  found = draw(view, jitter=0.8, grayscale=0.2, blur=0.5, solarize=0.2)
  expected = Photometric(
    brightness=0.9324881,
    contrast=1.1409293,
    saturation=1.0237144,
    hue=0.0763836,
    is_jittered=True,
    is_gray=False,
    sigma=0.7412706,
    is_blurred=True,
    is_solarized=False,
  )
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_nothing_changes_with_probability_zero():
  np.testing.assert_array_equal(augment(jax.random.key(0)), PIXELS)


@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_applied_with_its_probability(name):
  rngs = jax.random.split(jax.random.key(1), 200)
  run = jax.jit(jax.vmap(lambda key: augment(key, **{name: 0.3})))
  changed = np.any(np.asarray(run(rngs)) != np.asarray(PIXELS), axis=(1, 2, 3))
  # Four standard deviations of a binomial around 0.3.
  assert abs(changed.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 200)


def test_compiled_jitter_is_that_of_single_operations():
  # In a fused program XLA may round one value in two ways, which must not send
  # hue into another branch.
  rngs = jax.random.split(jax.random.key(2), 8)
  compiled = jax.jit(jax.vmap(lambda key: augment(key, jitter=1.0)))(rngs)
  with jax.disable_jit():
    single = [augment(key, jitter=1.0) for key in rngs]
  np.testing.assert_allclose(compiled, np.stack(single), atol=2e-6)
