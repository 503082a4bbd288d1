"""Axial 2D rotary position embedding, in the two number formats in use.

`float32` is what Hugging Face transformers computes. `bfloat16` is what the
released weights were trained with: every step of the table, and the rotation
itself, rounded to bfloat16.

Positions travel with tokens as rows of (cos, sin): a masked view, a crop of
any size and the prefix tokens (rows of cos 1, sin 0) need no special case.
"""

import functools

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from sapiens2_jax import errors

BASE = 100.0


@struct.dataclass
class Rope:
  """Rotation of each token: cosines and sines of half a head's width.

  Attributes:
    cos: (n, head_dim / 2) or (b, n, head_dim / 2) float32.
    sin: same shape.
  """

  cos: Array
  sin: Array

  def take(self, ids: Array) -> "Rope":
    """The rows `ids`, an int array of any shape."""
    return Rope(self.cos[ids], self.sin[ids])

  def with_prefix(self, num_tokens: int) -> "Rope":
    """Puts `num_tokens` tokens that are not rotated in front."""
    pad = [(0, 0)] * (self.cos.ndim - 2) + [(num_tokens, 0), (0, 0)]
    return Rope(
      jnp.pad(self.cos, pad, constant_values=1), jnp.pad(self.sin, pad)
    )


def _float32_table(
  grid_size: tuple[int, int], head_dim: int
) -> tuple[np.ndarray, np.ndarray]:
  periods = float32_periods(head_dim)
  axes = [2 * (np.arange(n) + 0.5) / n - 1 for n in grid_size]
  coords = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
  angles = 2 * np.pi * coords[:, :, None] / periods
  angles = angles.reshape(len(coords), head_dim // 2)
  return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def float32_periods(head_dim: int) -> np.ndarray:
  """The head_dim / 4 periods of rotations, float64: none is rounded."""
  return BASE ** (4 * np.arange(head_dim // 4, dtype=np.float64) / head_dim)


def bfloat16_periods(head_dim: int) -> np.ndarray:
  """The head_dim / 4 periods as the reference stores them."""
  bf16, f32 = ml_dtypes.bfloat16, np.float32
  k = np.arange(head_dim // 4, dtype=f32)
  exponents = (2 * k / (head_dim / 2)).astype(bf16)
  return np.power(f32(BASE), exponents.astype(f32)).astype(bf16)


def _bfloat16_table(
  grid_size: tuple[int, int], head_dim: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rounds where the reference does; on the host, as XLA may skip roundings."""
  bf16, f32 = ml_dtypes.bfloat16, np.float32
  periods = bfloat16_periods(head_dim)
  axes = []
  for n in grid_size:
    center = (np.arange(n, dtype=f32) + f32(0.5)).astype(bf16).astype(f32)
    unit = (center / f32(n)).astype(bf16).astype(f32)
    axes.append((2 * unit - 1).astype(bf16).astype(f32))
  coords = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
  scaled = (f32(2 * np.pi) * coords).astype(bf16).astype(f32)
  angles = (scaled[:, :, None] / periods.astype(f32)).astype(bf16).astype(f32)
  angles = angles.reshape(len(coords), head_dim // 2)
  cos, sin = np.cos(angles).astype(bf16), np.sin(angles).astype(bf16)
  return cos.astype(f32), sin.astype(f32)


TABLES = {"float32": _float32_table, "bfloat16": _bfloat16_table}


@functools.lru_cache(maxsize=32)
def _cached_table(grid_size, head_dim, rope_dtype):
  table = errors.lookup(TABLES, rope_dtype, "rope_dtype")
  return table(grid_size, head_dim)


def rope_table(
  grid_size: tuple[int, int], head_dim: int, rope_dtype: str
) -> Rope:
  """The rotation of every patch of a grid, row by row.

  Args:
    grid_size: (rows, cols) in patches.
    head_dim: width of a head, a multiple of 4.
    rope_dtype: "float32" (transformers) or "bfloat16" (the reference).

  Returns:
    cos and sin of shape (rows * cols, head_dim / 2), float32 that holds
    bfloat16 values in the second format.

  Raises:
    ValueError: if `head_dim` is no multiple of 4 or the format is unknown.

  Source: backbone of Sapiens2; base 100, coordinates in [-1, 1] an axis.
  """
  if head_dim % 4:
    raise ValueError(f"head_dim={head_dim} must be a multiple of 4.")
  return Rope(*map(jnp.asarray, _cached_table(grid_size, head_dim, rope_dtype)))


def _round_bfloat16(x: Array) -> Array:
  # reduce_precision survives jit; a cast down and up may be elided.
  return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def apply_rope(
  x: Float[Array, "b h e n"], rope: Rope, rope_dtype: str
) -> Float[Array, "b h e n"]:
  """Rotates queries or keys; channel m pairs with channel m + head_dim / 2."""
  # (n, e / 2) or (b, n, e / 2) -> (e / 2, n) or (b, 1, e / 2, n)
  cos, sin = (jnp.swapaxes(t, -1, -2) for t in (rope.cos, rope.sin))
  if cos.ndim == 3:
    cos, sin = cos[:, None], sin[:, None]
  if rope_dtype == "bfloat16":
    first, second = jnp.split(_round_bfloat16(x.astype(jnp.float32)), 2, -2)
    fix = _round_bfloat16
    rotated = (
      fix(fix(first * cos) - fix(second * sin)),
      fix(fix(second * cos) + fix(first * sin)),
    )
  else:
    cos, sin = cos.astype(x.dtype), sin.astype(x.dtype)
    first, second = jnp.split(x, 2, -2)
    rotated = (first * cos - second * sin, second * cos + first * sin)
  return jnp.concatenate(rotated, -2).astype(x.dtype)
