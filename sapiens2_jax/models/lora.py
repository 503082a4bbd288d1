"""LoRA: what frozen matrices of blocks learn, as a product of two thin ones.

A matrix W of a block (queries, keys, values, output and feed-forward) acts as
W + A B, with as many columns in A, and rows in B, as the rank. B starts at
zero. The sum is made where a block is computed, in float32, and is what is
exported: there is nothing else to tell a consumer.

Source: arXiv 2106.09685, without its alpha / rank, which acts as a learning
rate does; all blocks and matrices: ours.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

COLLECTION = "lora"  # of the variables of an encoder
_MATRICES = ("kernel", "w12")


def init(rng: PRNGKeyArray, encoder: dict, rank: int) -> dict:
  """Draws A and B for all matrices of the blocks.

  Args:
    rng: for A, normal with variance 1 / rows of W.
    encoder: parameters, boxed with their logical axes; those of a segment are
      stacked.
    rank: at least 1.

  Returns:
    {"blocks": ...} as in the encoder, with {"a", "b"} for each matrix, boxed:
    A is cut over devices as the rows of W, B as its columns.
  """
  flat, made = traverse_util.flatten_dict(encoder), {}
  for number, path in enumerate(sorted(flat)):
    if path[0] != "blocks" or path[-1] not in _MATRICES:
      continue
    *stack, rows, columns = flat[path].value.shape
    *names, row_name, column_name = flat[path].names
    key = jax.random.fold_in(rng, number)
    a = jax.random.normal(key, (*stack, rows, rank)) * rows**-0.5
    b = jnp.zeros((*stack, rank, columns))
    box = nn.LogicallyPartitioned
    made[*path, "a"] = box(a, (*names, row_name, None))
    made[*path, "b"] = box(b, (*names, None, column_name))
  return traverse_util.unflatten_dict(made)


def merge(params: Mapping, lora: Mapping) -> Mapping:
  """The same parameters with A B added to each matrix that has them."""
  if not lora:
    return params
  flat = traverse_util.flatten_dict(params)
  pairs = traverse_util.flatten_dict(lora)
  for *path, name in pairs:
    if name == "a":
      path = tuple(path)
      flat[path] = _add(flat[path], pairs[*path, "a"], pairs[*path, "b"])
  return traverse_util.unflatten_dict(flat)


def _add(
  kernel: Float[Array, "*l i o"],
  a: Float[Array, "*l i r"],
  b: Float[Array, "*l r o"],
) -> Float[Array, "*l i o"]:
  # On a TPU a product of float32 would be one of bfloat16.
  kernel, a, b = (x.astype(jnp.float32) for x in (kernel, a, b))
  return kernel + jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
