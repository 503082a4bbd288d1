"""Which patches of a global view are hidden from the student."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sapiens2_jax import errors

NUM_RECTANGLES = 32  # the rest of what is hidden is topped up at random


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
  uniform: Float[Array, "4 r"],
  grid: tuple[int, int],
  areas: tuple[float, float],
  aspects: tuple[float, float],
) -> Float[Array, "n"]:
  """For each patch the number of the first rectangle that covers it."""
  rows, cols = grid
  share, shape, down, right = uniform[:, :, None, None]
  area = areas[0] + (areas[1] - areas[0]) * share
  log_aspect = math.log(aspects[0]) + math.log(aspects[1] / aspects[0]) * shape
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


def _rank_blockwise(
  rng: PRNGKeyArray,
  grid: tuple[int, int],
  *,
  block_probability: float,
  rectangle_area: tuple[float, float],
  rectangle_aspect: tuple[float, float],
  **_,
) -> Float[Array, "n"]:
  """By rectangle, at random within one; or at random everywhere."""
  patches, rectangles = grid[0] * grid[1], 4 * NUM_RECTANGLES
  uniform = jax.random.uniform(rng, (1 + patches + rectangles,))
  blockwise = uniform[0] < block_probability
  rank = uniform[1 : 1 + patches]
  order = _rectangle_order(
    uniform[1 + patches :].reshape(4, -1),
    grid,
    rectangle_area,
    rectangle_aspect,
  )
  return rank + jnp.where(blockwise, order, 0.0)


def _rank_grid(
  rng: PRNGKeyArray, grid: tuple[int, int], *, block_size: int, **_
) -> Float[Array, "n"]:
  """By square of a fixed grid of squares, at random within one."""
  rows, cols = (-(-side // block_size) for side in grid)
  row, col = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])[None, :]
  square = (row // block_size * cols + col // block_size).reshape(-1)
  uniform = jax.random.uniform(rng, (rows * cols + len(square),))
  order = jnp.argsort(jnp.argsort(uniform[: rows * cols]))
  return order[square] + uniform[rows * cols :]


# By `masking.mode`: the patches of the lowest ranks are hidden.
MODES = {"blockwise": _rank_blockwise, "grid": _rank_grid}


def draw_mask(
  rng: PRNGKeyArray,
  grid: tuple[int, int],
  *,
  mask_ratio: float,
  block_probability: float,
  mode: str = "blockwise",
  block_size: int = 4,
  rectangle_area: tuple[float, float] = (0.02, 0.15),
  rectangle_aspect: tuple[float, float] = (0.3, 3.3),
) -> tuple[Int[Array, "n"], Int[Array, "m"]]:
  """Draws the hidden patches of one view, exactly the requested count.

  Args:
    rng: the view's key.
    grid: (rows, cols) of patches.
    mask_ratio: fraction of hidden patches, in (0, 1).
    block_probability: of mode "blockwise": how often the hidden patches are the
      union of rectangles, taken one by one until the count is reached, the last
      one trimmed patch by patch; otherwise they are drawn uniformly.
    mode: "blockwise" or "grid".
    block_size: of mode "grid": the hidden patches are whole squares of so many
      patches a side, aligned to the upper left corner and drawn uniformly; the
      last one is trimmed patch by patch.
    rectangle_area: of mode "blockwise": range of a rectangle's fraction of the
      grid, uniform.
    rectangle_aspect: range of its rows by its columns, log-uniform.

  Returns:
    Row-major numbers of the visible and of the masked patches, ascending.

  Raises:
    ValueError: the mode is unknown, or nothing or everything would be hidden.

  Source: arXiv 2604.21681 (0.75, blockwise with 0.4); rectangles: ours; grid:
  Pixio (squares of 4 x 4).
  """
  count = num_masked(grid[0] * grid[1], mask_ratio)
  draw_ranks = errors.lookup(MODES, mode, "masking.mode")
  rank = draw_ranks(
    rng,
    grid,
    block_probability=block_probability,
    block_size=block_size,
    rectangle_area=rectangle_area,
    rectangle_aspect=rectangle_aspect,
  )
  ids = jnp.argsort(rank)
  return jnp.sort(ids[count:]), jnp.sort(ids[:count])
