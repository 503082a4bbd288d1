import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models import pixels


def test_normalized_and_back_is_unchanged():
  images = np.random.default_rng(0).uniform(size=(5, 7, 3)).astype(np.float32)
  found = pixels.denormalize(pixels.normalize(images))
  np.testing.assert_allclose(found, images, atol=1e-6)
  black = pixels.normalize(jnp.zeros(3)) * jnp.array(pixels.IMAGENET_STD)
  np.testing.assert_allclose(black, [-0.485, -0.456, -0.406], atol=1e-7)


def test_levels_are_divided_by_255():
  levels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 15
  found = pixels.from_uint8(levels)
  mean, std = pixels.IMAGENET_MEAN, pixels.IMAGENET_STD
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, (levels / 255 - mean) / std, atol=1e-6)


def test_levels_that_are_no_uint8_are_refused():
  with pytest.raises(ValueError, match="images are float32; expected RGB of 0"):
    pixels.from_uint8(np.zeros((4, 4, 3), np.float32))
