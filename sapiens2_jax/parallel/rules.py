"""Logical axes of parameters and activations, mapped to mesh axes."""

import contextlib

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sapiens2_jax.parallel.mesh import BATCH_AXES

# One line per logical axis. `layers` is the stacking axis of a segment.
RULES = (
  ("batch", BATCH_AXES),
  ("tokens", "sequence"),
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("mlp", "tensor"),
  ("prototypes", "tensor"),
  ("layers", None),
)


@contextlib.contextmanager
def logical_constraints(mesh: Mesh):
  """Context in which the model's logical constraints hold, under `jit`."""
  with (
    jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
    nn.logical_axis_rules(RULES),
  ):
    yield


def shardings(boxed, mesh: Mesh):
  """Shardings of a tree whose leaves carry logical axes.

  Args:
    boxed: a tree from `jax.eval_shape`, partly boxed by
      `flax.linen.with_logical_partitioning`; unboxed leaves are replicated.
    mesh: the mesh.

  Raises:
    ValueError: lists every array with a dimension that its mesh axes do not
      divide.
  """
  problems = []

  def one(path, leaf):
    if not isinstance(leaf, nn.LogicallyPartitioned):
      return NamedSharding(mesh, PartitionSpec())
    spec = nn.logical_to_mesh_axes(leaf.names, RULES)
    for size, axes, name in zip(leaf.value.shape, spec, leaf.names):
      axes = (axes,) if isinstance(axes, str) else axes or ()
      parts = 1
      for axis in axes:
        parts *= mesh.shape[axis]
      if size % parts:
        problems.append(
          f"{jax.tree_util.keystr(path, simple=True, separator='/')}: axis "
          f"{name!r} of {size} is not divided by mesh {'*'.join(axes)}={parts}"
        )
    return NamedSharding(mesh, spec)

  is_box = lambda x: isinstance(x, nn.LogicallyPartitioned)  # noqa: E731
  tree = jax.tree_util.tree_map_with_path(one, boxed, is_leaf=is_box)
  if problems:
    raise ValueError("mesh does not fit the model:\n  " + "\n  ".join(problems))
  return tree
