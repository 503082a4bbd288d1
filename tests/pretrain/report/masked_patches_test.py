import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.models.pixels import patchify
from sapiens2_jax.pretrain.report import masked_patches
from sapiens2_jax.pretrain.terms import reconstruction

SIZES = [(64, 48), (32, 64)]


def _images(size, count=2):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _ids(images, mask_ratio=0.75):
  grid = (images.shape[1] // 16, images.shape[2] // 16)
  settings = {"mask_ratio": mask_ratio, "block_probability": 0.5}
  return masked_patches.draw_masks(len(images), grid, settings)


def _grid(size):
  return TokenGrid(size[0] // 16, size[1] // 16, 16, 16)


@pytest.mark.parametrize("size", SIZES)
def test_true_normalised_patches_give_back_the_exact_image(size):
  images = _images(size)
  patches = masked_patches.to_patches(images, 16)
  _, masked_ids = _ids(images)
  hidden = masked_patches.take_patches(patches, masked_ids)
  perfect = np.asarray(reconstruction.normalize_patches(hidden))
  values = masked_patches.unnormalize(perfect, hidden)
  pasted = masked_patches.paste(patches, masked_ids, values, _grid(size))
  # Float32 rounding of normalising twice and back.
  np.testing.assert_allclose(pasted, images / 255, atol=2e-6)
  np.testing.assert_array_equal(np.round(pasted * 255), images)


@pytest.mark.parametrize("size", SIZES)
def test_visible_patches_are_pasted_and_masked_ones_are_not(size):
  images = _images(size)
  patches = masked_patches.to_patches(images, 16)
  visible_ids, masked_ids = _ids(images)
  gray = np.zeros((*masked_ids.shape, patches.shape[2]), np.float32)
  pasted = masked_patches.paste(patches, masked_ids, gray, _grid(size))
  seen = np.asarray(patchify(jnp.round(pasted * 255), 16))
  true = np.asarray(patchify(jnp.asarray(images, jnp.float32), 16))
  for i in range(len(images)):
    np.testing.assert_array_equal(
      seen[i][visible_ids[i]], true[i][visible_ids[i]]
    )
    assert len(np.unique(seen[i][masked_ids[i]])) == 3  # one a channel


def test_masks_are_fixed_exact_disjoint_and_as_in_training():
  settings = {"mask_ratio": 0.75, "block_probability": 0.5}
  first = masked_patches.draw_masks(3, (8, 6), settings)
  again = masked_patches.draw_masks(3, (8, 6), settings)
  for a, b in zip(first, again):
    np.testing.assert_array_equal(a, b)
  assert first[0].shape == (3, 12) and first[1].shape == (3, 36)
  for visible, masked in zip(*first):
    assert sorted([*visible, *masked]) == list(range(48))
  # A mask of rectangles hides most neighbours of hidden patches.
  uniform, blocks = (
    masked_patches.draw_masks(40, (8, 6), settings | {"block_probability": p})
    for p in (0.0, 1.0)
  )

  def neighbors(masked_ids):
    hidden = np.zeros((len(masked_ids), 48), bool)
    np.put_along_axis(hidden, masked_ids, True, axis=1)
    hidden = hidden.reshape(-1, 8, 6)
    return (hidden[:, 1:] & hidden[:, :-1]).mean()

  assert neighbors(blocks[1]) > neighbors(uniform[1]) + 0.03


def test_patch_mean_loss_is_that_of_predicting_zero():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(2, 5, 48)).astype(np.float32)
  hidden[1, :3] = 0.25  # flat patches: the mean is all there is
  predictions = rng.normal(size=hidden.shape).astype(np.float32)
  losses, baselines = masked_patches.reconstruction_losses(predictions, hidden)
  np.testing.assert_allclose(baselines, [47 / 48, 2 / 5 * 47 / 48], rtol=1e-5)
  mean = hidden.mean(-1, keepdims=True)
  std = np.sqrt(hidden.var(-1, ddof=1, keepdims=True) + 1e-6)
  expected = ((predictions - (hidden - mean) / std) ** 2).mean((1, 2))
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
