"""What a model asks about the mesh that it is compiled for.

The logical names are mapped to mesh axes by `parallel.rules`; outside a mesh
everything here does nothing.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array

Names = tuple[str | None, ...]


def constrain(x: Array, *names: str | None) -> Array:
  """Lays x out over the mesh, one logical name or None an axis."""
  return nn.with_logical_constraint(x, names)


def axis_size(name: str) -> int:
  """Into how many parts an axis of this logical name is cut."""
  sizes = jax.sharding.get_abstract_mesh().shape
  (axes,) = nn.logical_to_mesh_axes((name,))
  axes = (axes,) if isinstance(axes, str) else axes or ()
  return math.prod(sizes.get(axis, 1) for axis in axes)


def platform() -> str:
  """Of the devices of the mesh, else of JAX's default: "tpu", "gpu", "cpu"."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def compute_capability() -> str | None:
  """Of this process's GPUs, e.g. "9.0"; None if there are none."""
  return getattr(jax.local_devices()[0], "compute_capability", None)


def on_each_device(
  function: Callable, inputs: tuple[Names, ...], output: Names
) -> Callable:
  """Runs a function on the parts of its arguments that each device holds.

  For kernels, which XLA cannot divide by itself.

  Args:
    function: of arrays.
    inputs: logical names of each argument's axes.
    output: logical names of the result's axes.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function
  return jax.shard_map(
    function,
    in_specs=tuple(map(nn.logical_to_mesh_axes, inputs)),
    out_specs=nn.logical_to_mesh_axes(output),
    check_vma=False,
  )
