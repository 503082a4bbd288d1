"""The one place where meshes are made."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import (
  AbstractDevice,
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)
from ml_collections import ConfigDict

AXES = ("data", "fsdp", "sequence", "tensor")
BATCH_AXES = ("data", "fsdp")


def mesh_shape(
  requested: Mapping[str, int], num_devices: int
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

  With several slices the axis `data` runs between them, over the data-centre
  network; all others stay on the links within a slice. Axis types are Auto:
  the explicit default breaks gradients of Linen layers.

  Raises:
    ValueError: the axes do not multiply to the number of devices, or `data`
      is not a multiple of the number of slices.
  """
  devices = jax.devices() if devices is None else devices
  shape = mesh_shape(config, len(devices))
  types = (AxisType.Auto,) * len(AXES)
  slices = len({getattr(d, "slice_index", None) for d in devices})
  if slices == 1:
    return Mesh(_place(shape, devices), AXES, axis_types=types)
  if shape[0] % slices:
    raise ValueError(
      f"mesh.data={shape[0]} must be a multiple of the {slices} slices."
    )
  within = (shape[0] // slices, *shape[1:])
  parts = [
    _place(within, [d for d in devices if d.slice_index == index])
    for index in sorted({d.slice_index for d in devices})
  ]
  return Mesh(np.concatenate(parts), AXES, axis_types=types)


def abstract_mesh(
  config: Mapping[str, int], num_devices: int, platform: str | None = None
) -> AbstractMesh:
  """As `make_mesh`, of devices that are not here: for shapes and shardings.

  Args:
    config: as there.
    num_devices: on the mesh.
    platform: "gpu" or "tpu", for a program that is traced on the mesh and asks.

  Raises:
    ValueError: as there.
  """
  device = platform and AbstractDevice(platform, None, platform)
  return AbstractMesh(
    mesh_shape(config, num_devices),
    AXES,
    axis_types=(AxisType.Auto,) * len(AXES),
    abstract_device=device,
  )


def _place(shape: tuple[int, ...], devices: list) -> np.ndarray:
  """Devices of one slice, neighbours on an axis near each other."""
  try:
    return mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
  except NotImplementedError as error:
    shown = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, shape))
    raise ValueError(f"mesh ({shown}): {error}") from error


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Of batch arrays (microbatches, b, ...): b over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())
