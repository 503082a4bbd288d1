"""Images to patches and back."""

import einops
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def grid_size(image_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
  """(rows, cols) of whole patches in an image of (height, width) pixels.

  Raises:
    ValueError: if the image is smaller than one patch.
  """
  rows, cols = (side // patch_size for side in image_size)
  if not rows or not cols:
    raise ValueError(
      f"image_size={tuple(image_size)} is smaller than one patch of "
      f"{patch_size} x {patch_size} pixels."
    )
  return rows, cols


def patchify(
  images: Float[ArrayLike, "*b h w c"], patch_size: int
) -> Float[Array, "*b n p"]:
  """Cuts images into patches, row by row; a remainder is dropped.

  Returns:
    n = rows * cols patches of p = patch_size**2 * c values each, in row,
    column, channel order.
  """
  rows, cols = grid_size(images.shape[-3:-1], patch_size)
  images = images[..., : rows * patch_size, : cols * patch_size, :]
  return einops.rearrange(
    images,
    "... (r p) (s q) c -> ... (r s) (p q c)",
    p=patch_size,
    q=patch_size,
  )


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
