"""Pixels as the model takes them: normalised, cut into patches and back."""

import math

import einops
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# White, normalised, is at most this; noise or augmentation may go further.
_WHITE = 2.65
_FARTHEST = 16.0  # ours
_CONTRAST = 0.4  # within a channel  # ours


def normalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Pixels in [0, 1] to ImageNet-normalised. Source: paper."""
  return (images - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)


def denormalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Inverse of `normalize`."""
  return images * jnp.array(IMAGENET_STD) + jnp.array(IMAGENET_MEAN)


def from_uint8(images: Shaped[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """RGB of 0 to 255 to what the encoder takes, ImageNet-normalised float32.

  Raises:
    ValueError: they are not uint8.
  """
  images = jnp.asarray(images)
  if images.dtype != jnp.uint8:
    raise ValueError(
      f"images are {images.dtype}; expected RGB of 0 to 255 as uint8."
    )
  return normalize(images.astype(jnp.float32) / 255)


def check_normalized(images: Shaped[Array, "*b 3"]) -> None:
  """Refuses images that nobody normalised: their features would be wrong.

  Their dtype is always looked at, their values where they are known: outside
  of jit.

  Raises:
    ValueError: they are no floats; or no value is negative, and all are at
      most 1 or some larger than white is; or one is far from all normalised
      ones. Images of little contrast are let pass: they may be normalised.
  """
  found = ""
  if not jnp.issubdtype(images.dtype, jnp.floating):
    found = f"are {images.dtype}"
  elif not isinstance(images, jax.core.Tracer) and images.size:
    with jax.ensure_compile_time_eval():  # Constants of a traced function too.
      channels = images.reshape(-1, 3)
      low, high = jax.device_get((channels.min(axis=0), channels.max(axis=0)))
    contrast = (high - low).max()
    low, high = float(low.min()), float(high.max())
    is_unit = 0 <= low and high <= 1 and contrast > _CONTRAST
    if is_unit or (0 <= low and high > _WHITE) or max(-low, high) > _FARTHEST:
      found = f"have values from {low:.3g} to {high:.3g}"
  if found:
    raise ValueError(
      f"images {found}; expected ImageNet-normalised floats. Give paths or "
      "uint8 RGB to `load_pretrained(...).features`, or normalise uint8 RGB by "
      "`sapiens2_jax.models.pixels.from_uint8`."
    )


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
