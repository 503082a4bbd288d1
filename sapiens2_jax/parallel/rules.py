"""Logical axes of parameters and activations, mapped to mesh axes.

The config group `sharding` holds one rule a logical axis: mesh axes joined by
"+", or "" for none.
"""

import contextlib
import math

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.parallel import mesh as mesh_lib

Rules = tuple[tuple[str, tuple[str, ...]], ...]

# Axes of activations; all others belong to parameters. Logits have prototypes,
# too, and a run whose terms need none has neither.
_ACTIVATIONS = ("batch", "tokens", "windows", "prototypes")


def read_rules(sharding: ConfigDict, mesh: ConfigDict) -> Rules:
  """The rules of a config.

  Args:
    sharding: logical axis -> mesh axes.
    mesh: sizes of the mesh axes.

  Raises:
    ValueError: lists rules with an unknown or repeated mesh axis, and mesh
      axes that no rule uses.
  """
  problems, rules = [], []
  for name, text in sharding.items():
    axes = tuple(filter(None, text.split("+")))
    for axis in axes:
      try:
        errors.lookup(dict.fromkeys(mesh_lib.AXES), axis, "mesh axis")
      except ValueError as error:
        problems.append(f"sharding.{name}={text}: {error}")
    if len(set(axes)) < len(axes):
      problems.append(f"sharding.{name}={text}: an axis is given twice")
    rules.append((name, axes))
  rules.append(("batch", mesh_lib.BATCH_AXES))
  # Windows of the 4K variant are cut as the tokens that they become.
  rules.append(("windows", mesh_lib.BATCH_AXES + dict(rules).get("tokens", ())))
  used = {axis for _, axes in rules for axis in axes}
  problems += [
    f"mesh.{axis}={mesh[axis]}: no rule in `sharding` uses this axis"
    for axis in mesh_lib.AXES
    if mesh[axis] != 1 and axis not in used
  ]
  if problems:
    raise ValueError("\n  ".join(problems))
  return tuple(rules)


def of_arrays(tree):
  """The shardings of a tree of arrays, abstract ones too."""
  return jax.tree.map(lambda x: x.sharding, tree)


@contextlib.contextmanager
def logical_constraints(mesh: Mesh, rules: Rules):
  """Context in which the model's logical constraints hold, under `jit`."""
  with (
    jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
    nn.logical_axis_rules(rules),
  ):
    yield


def shardings(boxed, mesh: Mesh, rules: Rules):
  """Shardings of a tree whose leaves carry logical axes.

  Args:
    boxed: a tree from `jax.eval_shape`, partly boxed by
      `flax.linen.with_logical_partitioning`; unboxed leaves are replicated.
    mesh: the mesh.
    rules: from `read_rules`.

  Raises:
    ValueError: lists every array with a dimension that its mesh axes do not
      divide, and every rule whose name no array has.
  """
  problems, seen = [], set(_ACTIVATIONS)

  def one(path, leaf):
    if not isinstance(leaf, nn.LogicallyPartitioned):
      return NamedSharding(mesh, PartitionSpec())
    if not jax.tree.leaves(leaf):
      return leaf.value  # No array: optax leaves it to another optimizer.
    seen.update(leaf.names)
    spec = nn.logical_to_mesh_axes(leaf.names, rules)
    for size, axes, name in zip(leaf.value.shape, spec, leaf.names):
      axes = (axes,) if isinstance(axes, str) else axes or ()
      parts = math.prod(mesh.shape[axis] for axis in axes)
      if size % parts:
        problems.append(
          f"{jax.tree_util.keystr(path, simple=True, separator='/')}: axis "
          f"{name!r} of {size} is not divided by mesh {'*'.join(axes)}={parts}"
        )
    return NamedSharding(mesh, spec)

  is_box = lambda x: isinstance(x, nn.LogicallyPartitioned)  # noqa: E731
  tree = jax.tree_util.tree_map_with_path(one, boxed, is_leaf=is_box)
  names = ", ".join(sorted(filter(None, seen)))
  problems += [
    f"sharding.{name}: the rule matches nothing; the model has {names}"
    for name, _ in rules
    if name not in seen
  ]
  if problems:
    raise ValueError("mesh does not fit the model:\n  " + "\n  ".join(problems))
  return tree
