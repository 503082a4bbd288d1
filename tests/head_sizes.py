"""How large a head is, to compare with the released ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def num_params(head: nn.Module, features: tuple[int, int, int]) -> int:
  """Parameters of a head on features (rows, cols, d), from shapes alone."""
  shape = jax.ShapeDtypeStruct((1, *features), jnp.float32)
  tree = jax.eval_shape(head.init, jax.random.key(0), shape)
  return sum(leaf.size for leaf in jax.tree.leaves(tree))
