"""The one place where meshes are made."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

AXES = ("data", "fsdp", "sequence", "tensor")
BATCH_AXES = ("data", "fsdp")


def mesh_shape(
  requested: dict[str, int], num_devices: int
) -> tuple[int, int, int, int]:
  """Sizes of `AXES`; one -1 takes what the others leave.

  Raises:
    ValueError: if the axes do not multiply to the number of devices.
  """
  sizes = [requested[axis] for axis in AXES]
  shown = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes))
  if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
    raise ValueError(f"mesh ({shown}): sizes are positive, at most one is -1.")
  fixed = int(np.prod([size for size in sizes if size != -1]))
  if -1 in sizes and num_devices % fixed == 0:
    sizes[sizes.index(-1)] = num_devices // fixed
  if int(np.prod(sizes)) != num_devices:
    raise ValueError(
      f"mesh ({shown}) does not multiply to {num_devices} devices."
    )
  return tuple(sizes)


def make_mesh(config: ConfigDict, devices: list | None = None) -> Mesh:
  """A mesh over `AXES` from the config group `mesh`.

  Axis types are Auto: the explicit default breaks gradients of Linen layers.
  """
  devices = jax.devices() if devices is None else devices
  shape = mesh_shape({axis: config[axis] for axis in AXES}, len(devices))
  return jax.make_mesh(
    shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES)
  )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Of batch arrays (microbatches, b, ...): b over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())
