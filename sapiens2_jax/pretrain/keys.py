"""Randomness that belongs to an example, wherever and whenever it is drawn.

Every key is a pure function of (seed, purpose, record index, epoch, view), so
neither the number of hosts nor a restart changes what the model sees.
"""

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray

PHOTOMETRIC = 1
FLIP = 2
MASK = 3


def example_keys(
  rng: PRNGKeyArray,
  purpose: int,
  index: Int[ArrayLike, "b"],
  epoch: Int[ArrayLike, "b"],
  num_views: int,
) -> Array:
  """One key for each view of each example.

  Args:
    rng: the run's key.
    purpose: one of the constants of this module.
    index: number of the record in its source.
    epoch: how often the source had been seen before.

  Returns:
    Keys of shape (b, num_views).
  """

  def one(i, e):
    # The purpose comes last: all purposes share the key of the example.
    key = jax.random.fold_in(jax.random.fold_in(rng, i), e)
    return jax.random.split(jax.random.fold_in(key, purpose), num_views)

  return jax.vmap(one)(index, epoch)
