"""Weights gathered once a step instead of block by block.

Parameters cut along `fsdp` are whole on a device only while a block is
computed, so that each microbatch moves all of them two or three times. Whole
copies in the dtype of the computation move once a step, and cost their memory.
"""

import dataclasses
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array

_AXIS = "fsdp"


@dataclasses.dataclass(frozen=True)
class Gather:
  """How the arrays of a tree become whole, and their gradients cut again.

  Only what is cut along `fsdp` changes: matrices and their biases, which the
  model casts before it uses them. Norm scales and statistics stay as they are.

  Attributes:
    dtype: of the whole copies.
  """

  dtype: DTypeLike

  def whole(self, tree: Any, abstract: Any) -> Any:
    """Copies of the arrays that are cut along `fsdp`.

    Args:
      tree: of arrays.
      abstract: the same as shapes with shardings.
    """

    def one(x: Array, like: jax.ShapeDtypeStruct) -> Array:
      spec = like.sharding.spec
      rest = PartitionSpec(*map(_without_fsdp, spec))
      if rest == spec:
        return x
      return lax.with_sharding_constraint(x.astype(self.dtype), rest)

    return jax.tree.map(one, tree, abstract)

  @staticmethod
  def cut(gradient: Any, abstract: Any) -> Any:
    """A gradient at whole copies, in dtype and place of the parameters."""

    def one(x: Array, like: jax.ShapeDtypeStruct) -> Array:
      x = x.astype(like.dtype)
      return lax.with_sharding_constraint(x, like.sharding.spec)

    return jax.tree.map(one, gradient, abstract)


def _without_fsdp(axes: str | tuple[str, ...] | None) -> Any:
  """Mesh axes of one dimension without `fsdp`."""
  if isinstance(axes, tuple):
    return tuple(axis for axis in axes if axis != _AXIS) or None
  return None if axes == _AXIS else axes
