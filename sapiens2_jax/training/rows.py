"""Rows of batches: from processes to the mesh, and back.

A process has the rows of its own devices alone. Where an axis that does not
divide the batch runs over several processes, these have the same rows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.runtime.gathering import Part

Blocks = dict[int, tuple[int, ...]]


def row_sharding(mesh: Mesh) -> NamedSharding:
  """Of arrays (b, ...): b over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(mesh_lib.BATCH_AXES))


def _blocks(mesh: Mesh) -> Blocks:
  """For each process, which of the data * fsdp blocks of rows it has."""
  count = _num_blocks(mesh)
  places = row_sharding(mesh).devices_indices_map((count,))
  found: dict[int, set[int]] = {}
  for device, (rows,) in places.items():
    found.setdefault(device.process_index, set()).add(rows.start or 0)
  return {process: tuple(sorted(own)) for process, own in found.items()}


def _num_blocks(mesh: Mesh) -> int:
  return int(np.prod([mesh.shape[axis] for axis in mesh_lib.BATCH_AXES]))


def part_of(mesh: Mesh) -> Part:
  """The part of each batch that this process loads.

  Raises:
    ValueError: processes share some rows and not others.
  """
  blocks = _blocks(mesh)
  parts = sorted(set(blocks.values()))
  if len({len(part) for part in parts}) > 1 or sum(
    map(len, parts)
  ) != _num_blocks(mesh):
    shown = ", ".join(f"{axis}={n}" for axis, n in mesh.shape.items())
    raise ValueError(
      f"mesh ({shown}): of {len(blocks)} processes some share a part of their "
      "rows; expected data * fsdp to divide, or be divided by, their number."
    )
  speakers = [min(p for p in blocks if blocks[p] == part) for part in parts]
  own = parts.index(blocks[jax.process_index()])
  return Part(own, len(parts), tuple(speakers))


@dataclasses.dataclass(frozen=True, eq=False)
class OnMesh:
  """A function of parameters and rows, compiled for a mesh.

  Attributes:
    function: jitted, of global arrays; its outputs lie as its rows do.
    mesh: of both.
    part: of the rows that this process gives and gets.
  """

  function: Callable
  mesh: Mesh
  part: Part

  def __call__(self, params: Any, rows: np.ndarray) -> Any:
    """A tree of NumPy arrays: of this process's rows, in their order."""
    blocks = _blocks(self.mesh)[jax.process_index()]
    size, count = len(rows) // len(blocks), _num_blocks(self.mesh)

    def local(index: tuple[slice, ...]) -> np.ndarray:
      place = blocks.index((index[0].start or 0) // size)
      return rows[place * size : (place + 1) * size]

    given = jax.make_array_from_callback(
      (size * count, *rows.shape[1:]), row_sharding(self.mesh), local
    )
    return jax.tree.map(_own_rows, self.function(params, given))


def _own_rows(array: jax.Array) -> np.ndarray:
  found = {x.index[0].start or 0: x.data for x in array.addressable_shards}
  return np.concatenate(jax.device_get([found[at] for at in sorted(found)]))


def replicate(tree: Any, mesh: Mesh) -> Any:
  """A tree of arrays that all processes have, whole on every device."""
  sharding = mesh_lib.replicated(mesh)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def one(leaf: Any) -> jax.Array:
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

  return jax.tree.map(one, tree)
