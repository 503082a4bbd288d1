"""The one way from crops to what the model sees."""

import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.pretrain import keys, views
from sapiens2_jax.pretrain.photometric import (
  apply_photometric,
  draw_photometric,
)

AUGMENT = dict(
  brightness=0.4,
  contrast=0.4,
  saturation=0.2,
  hue=0.1,
  jitter_probability=0.8,
  grayscale_probability=0.2,
  blur_probability=0.5,
  blur_sigma=(0.1, 2.0),
  solarize_probability=0.2,
)
RNG = jax.random.key(0)
NUMBERS = np.random.default_rng(0)
BATCH = {
  "global_crops": NUMBERS.integers(0, 256, (2, 2, 24, 16, 3), np.uint8),
  "local_crops": NUMBERS.integers(0, 256, (2, 4, 20, 12, 3), np.uint8),
  "index": np.array([5, 6], np.int32),
  "epoch": np.array([2, 0], np.int32),
}
FLIPPED = np.array([[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]], bool)


def local_views(batch, rng):
  return views.local_views(batch, rng, AUGMENT)


def flipped(name, is_flipped):
  """Crops in [0, 1], mirrored where `is_flipped` says so."""
  crops = BATCH[name] / np.float32(255)
  mirrored = crops[:, :, :, ::-1]
  return np.where(is_flipped[..., None, None, None], mirrored, crops)


def test_flips_of_an_example_stay_what_they_are():
  ways = (views.global_views, local_views)
  found = [jax.jit(way)(BATCH, RNG).flipped for way in ways]
  found = np.concatenate(found, axis=1)
  np.testing.assert_array_equal(found, FLIPPED)


def test_global_views_are_flipped_and_normalised_only():
  found = jax.jit(views.global_views)(BATCH, RNG)
  assert found.photometric is None
  pixels = flipped("global_crops", FLIPPED[:, :2])
  np.testing.assert_allclose(
    found.images, pixel_lib.normalize(pixels), atol=1e-6
  )


def test_local_views_are_what_their_parameters_say():
  found = jax.jit(local_views)(BATCH, RNG)
  view_keys = keys.example_keys(
    RNG, keys.PHOTOMETRIC, BATCH["index"], BATCH["epoch"], 4
  )
  pixels = flipped("local_crops", FLIPPED[:, 2:])
  apply = jax.jit(apply_photometric)
  for place in np.ndindex(2, 4):
    drawn = draw_photometric(view_keys[place], **AUGMENT)
    for name, value in drawn._asdict().items():
      np.testing.assert_allclose(
        getattr(found.photometric, name)[place], value, rtol=1e-6
      )
    expected = apply(jnp.moveaxis(pixels[place], -1, 0), drawn)
    np.testing.assert_allclose(
      found.images[place],
      pixel_lib.normalize(jnp.moveaxis(expected, 0, -1)),
      atol=5e-6,
    )


def test_an_example_does_not_depend_on_the_others():
  run = jax.jit(local_views)
  alone = run({name: leaf[1:] for name, leaf in BATCH.items()}, RNG)
  together = run(BATCH, RNG)
  np.testing.assert_allclose(alone.images[0], together.images[1], atol=5e-6)
