"""Pixels as the model takes them: normalised, cut into patches and back."""

import math

import einops
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Pixels in [0, 1] to ImageNet-normalised. Source: paper."""
  return (images - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)


def denormalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Inverse of `normalize`."""
  return images * jnp.array(IMAGENET_STD) + jnp.array(IMAGENET_MEAN)


def from_uint8(images: UInt8[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """RGB of 0 to 255 to what the encoder takes, ImageNet-normalised float32."""
  return normalize(jnp.asarray(images).astype(jnp.float32) / 255)


def patchify(
  images: Float[ArrayLike, "*b h w c"], patch_size: int
) -> Float[Array, "*b n p"]:
  """Cuts images into patches, row by row; a remainder is dropped.

  Returns:
    n = rows * cols patches of p = patch_size**2 * c values each, in row,
    column, channel order.
  """
  rows, cols = (side // patch_size for side in images.shape[-3:-1])
  images = images[..., : rows * patch_size, : cols * patch_size, :]
  return einops.rearrange(
    images, "... (r p) (s q) c -> ... (r s) (p q c)", p=patch_size, q=patch_size
  )


def split_patches(
  patches: Float[ArrayLike, "*b p"], count: int
) -> Float[Array, "*b m q"]:
  """Cuts square patches into m = count**2 smaller ones, row by row."""
  side = _side(patches)
  return einops.rearrange(
    patches,
    "... (r p s q c) -> ... (r s) (p q c)",
    r=count,
    s=count,
    p=side // count,
    c=3,
  )


def shrink_patches(
  patches: Float[ArrayLike, "*b p"], side: int
) -> Float[Array, "*b q"]:
  """RGB patches of fewer pixels, each the mean of those that it covers.

  Args:
    patches: square, in row, column, channel order.
    side: wanted; a divisor of theirs.
  """
  patches = jnp.asarray(patches)
  if _side(patches) == side:
    return patches
  return einops.reduce(
    patches,
    "... (r p s q c) -> ... (r s c)",
    "mean",
    r=side,
    s=side,
    c=3,
    p=_side(patches) // side,
  )


def _side(patches: ArrayLike) -> int:
  """Pixels on a side of square RGB patches."""
  return math.isqrt(patches.shape[-1] // 3)


def unpatchify(
  patches: Float[ArrayLike, "*b n p"], grid: tuple[int, int], patch_size: int
) -> Float[Array, "*b h w c"]:
  """Inverse of `patchify` for a grid of (rows, cols)."""
  return einops.rearrange(
    patches,
    "... (r s) (p q c) -> ... (r p) (s q) c",
    r=grid[0],
    p=patch_size,
    q=patch_size,
  )
