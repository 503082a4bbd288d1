import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.models.pixels import patchify
from sapiens2_jax.pretrain.terms import reconstruction
from sapiens2_jax.report import reconstruct

SIZES = [(64, 48), (32, 64)]


def _images(size, count=2):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _ids(images, mask_ratio=0.75):
  grid = (images.shape[1] // 16, images.shape[2] // 16)
  blockwise = np.arange(len(images)) % 2 == 1
  return reconstruct.draw_masks(blockwise, grid, mask_ratio)


def _grid(size):
  return TokenGrid(size[0] // 16, size[1] // 16, 16, 16)


@pytest.mark.parametrize("size", SIZES)
def test_true_normalised_patches_give_back_the_exact_image(size):
  images = _images(size)
  patches = reconstruct.to_patches(images, 16)
  _, masked_ids = _ids(images)
  hidden = reconstruct.take_patches(patches, masked_ids)
  perfect = np.asarray(reconstruction.normalize_patches(hidden))
  values = reconstruct.unnormalize(perfect, hidden)
  pasted = reconstruct.paste(patches, masked_ids, values, _grid(size))
  # Float32 rounding of normalising twice and back.
  np.testing.assert_allclose(pasted, images / 255, atol=2e-6)
  np.testing.assert_array_equal(np.round(pasted * 255), images)


@pytest.mark.parametrize("size", SIZES)
def test_visible_patches_are_pasted_and_masked_ones_are_not(size):
  images = _images(size)
  patches = reconstruct.to_patches(images, 16)
  visible_ids, masked_ids = _ids(images)
  gray = np.zeros((*masked_ids.shape, patches.shape[2]), np.float32)
  pasted = reconstruct.paste(patches, masked_ids, gray, _grid(size))
  seen = np.asarray(patchify(jnp.round(pasted * 255), 16))
  true = np.asarray(patchify(jnp.asarray(images, jnp.float32), 16))
  for i in range(len(images)):
    np.testing.assert_array_equal(
      seen[i][visible_ids[i]], true[i][visible_ids[i]]
    )
    assert len(np.unique(seen[i][masked_ids[i]])) == 3  # one a channel


def test_masks_are_fixed_exact_and_disjoint():
  first = reconstruct.draw_masks(np.array([False, True]), (8, 6), 0.75)
  again = reconstruct.draw_masks(np.array([False, True]), (8, 6), 0.75)
  for a, b in zip(first, again):
    np.testing.assert_array_equal(a, b)
  assert first[0].shape == (2, 12) and first[1].shape == (2, 36)
  for visible, masked in zip(*first):
    assert sorted([*visible, *masked]) == list(range(48))


def test_patch_mean_loss_is_that_of_predicting_zero():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(2, 5, 48)).astype(np.float32)
  hidden[1, :3] = 0.25  # flat patches: the mean is all there is
  predictions = rng.normal(size=hidden.shape).astype(np.float32)
  losses, baselines = reconstruct.reconstruction_losses(predictions, hidden)
  np.testing.assert_allclose(baselines, [47 / 48, 2 / 5 * 47 / 48], rtol=1e-5)
  mean = hidden.mean(-1, keepdims=True)
  std = np.sqrt(hidden.var(-1, ddof=1, keepdims=True) + 1e-6)
  expected = ((predictions - (hidden - mean) / std) ** 2).mean((1, 2))
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
