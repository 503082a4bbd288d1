"""Which patches of a global view are hidden from the student."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

NUM_RECTANGLES = 32  # enough to pass any ratio below 1; the rest is topped up
AREA = (0.02, 0.15)  # of the grid, a rectangle  # ours
ASPECT = (0.3, 3.3)  # rows / cols, log-uniform  # ours


def num_masked(num_patches: int, mask_ratio: float) -> int:
  """The exact number of hidden patches.

  Raises:
    ValueError: if no patch, or every patch, would be hidden.
  """
  count = round(num_patches * mask_ratio)
  if not 0 < count < num_patches:
    raise ValueError(
      f"mask_ratio={mask_ratio} hides {count} of {num_patches} patches; "
      "at least one must be hidden and one visible."
    )
  return count


def _rectangle_order(
  uniform: Float[Array, "4 r"], grid: tuple[int, int]
) -> Float[Array, "n"]:
  """For each patch the number of the first rectangle that covers it."""
  rows, cols = grid
  share, shape, down, right = uniform[:, :, None, None]
  area = AREA[0] + (AREA[1] - AREA[0]) * share
  log_aspect = math.log(ASPECT[0]) + math.log(ASPECT[1] / ASPECT[0]) * shape
  cells = area * (rows * cols)
  height = jnp.clip(jnp.round(jnp.sqrt(cells * jnp.exp(log_aspect))), 1, rows)
  width = jnp.clip(jnp.round(jnp.sqrt(cells / jnp.exp(log_aspect))), 1, cols)
  top = jnp.floor(down * (rows - height + 1))
  left = jnp.floor(right * (cols - width + 1))
  row, col = jnp.arange(rows)[:, None], jnp.arange(cols)[None, :]
  covered = (row >= top) & (row < top + height)
  covered &= (col >= left) & (col < left + width)
  order = jnp.arange(NUM_RECTANGLES, dtype=jnp.float32)[:, None, None]
  return jnp.min(jnp.where(covered, order, NUM_RECTANGLES), axis=0).reshape(-1)


def draw_mask(
  rng: PRNGKeyArray,
  grid: tuple[int, int],
  *,
  mask_ratio: float,
  block_probability: float,
) -> tuple[Int[Array, "n"], Int[Array, "m"]]:
  """Draws the hidden patches of one view, exactly the requested count.

  Args:
    rng: the view's key.
    grid: (rows, cols) of patches.
    mask_ratio: share of hidden patches, in (0, 1).
    block_probability: how often the hidden patches are the union of
      rectangles, taken one by one until the count is reached, the last one
      trimmed patch by patch; otherwise they are drawn uniformly.

  Returns:
    Row-major numbers of the visible and of the masked patches, ascending.

  Source: arXiv 2604.21681 (0.75, blockwise with 0.4); rectangles: ours.
  """
  count = num_masked(grid[0] * grid[1], mask_ratio)
  patches, rectangles = grid[0] * grid[1], 4 * NUM_RECTANGLES
  uniform = jax.random.uniform(rng, (1 + patches + rectangles,))
  blockwise = uniform[0] < block_probability
  # The lowest ranks are hidden: by rectangle, at random within one.
  rank = uniform[1 : 1 + patches]
  order = _rectangle_order(uniform[1 + patches :].reshape(4, -1), grid)
  rank += jnp.where(blockwise, order, 0.0)
  ids = jnp.argsort(rank)
  return jnp.sort(ids[count:]), jnp.sort(ids[:count])
