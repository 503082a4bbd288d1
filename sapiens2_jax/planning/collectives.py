"""Which devices a collective joins, what it moves, how long that takes."""

import dataclasses
import math
import re

import numpy as np
from jax.sharding import Mesh

from sapiens2_jax.chips import Chip
from sapiens2_jax.planning import account

_IOTA = re.compile(
  r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_LISTS = re.compile(r"replica_groups=\{(\{[\d,{}]*\})\}")
_PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{}]*\})\}")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation on one device."""

  kind: str  # e.g. "all-gather"
  axes: str  # of the mesh, along which it runs, joined by "+"
  num_bytes: float  # that leave a device in one run
  seconds: float  # of one run, by the links' bandwidth
  is_async: bool  # started at one point and awaited at another


def read_groups(text: str, num_devices: int) -> list[list[int]]:
  """Groups of partition numbers from an instruction's attributes."""
  found = _IOTA.search(text)
  if found:
    shape, dims, order = (
      [int(x) for x in part.split(",")] if part else None
      for part in found.groups()
    )
    ids = np.arange(np.prod(dims)).reshape(dims)
    ids = ids.transpose(order) if order else ids
    return ids.reshape(shape).tolist()
  found = _MESH.search(text)
  if found:
    sizes = dict(part.split("=") for part in found.group(1).split(","))
    names = [name.strip() for name in sizes]
    joined = [name.strip() for name in found.group(2).split(",")]
    ids = np.arange(num_devices).reshape([int(x) for x in sizes.values()])
    rest = [i for i, name in enumerate(names) if name not in joined]
    ids = ids.transpose(rest + [names.index(name) for name in joined])
    parts = math.prod(ids.shape[len(rest) :])
    return ids.reshape(-1, parts).tolist()
  found = _LISTS.search(text) or _PAIRS.search(text)
  if found:
    return [
      [int(x) for x in part.split(",")]
      for part in re.findall(r"\{([\d,]+)\}", found.group(1))
    ]
  return [list(range(num_devices))]


def describe(work: account.Work, mesh: Mesh, chip: Chip) -> Collective:
  """Reads a collective of a program that was compiled for `mesh`.

  Args:
    work: with a `collective`.
    mesh: of the program.
    chip: of the mesh.
  """
  found, outer = work.collective, work.instruction
  kind = account.collective_kind(found)
  if account.is_scatter(outer):
    kind = "reduce-scatter"
  group = max(read_groups(found.rest, mesh.size), key=len)
  parts = len(group)
  incoming = sum(operand.num_bytes for operand in found.operands)
  outgoing = sum(a.num_bytes for a in found.result if a.dims)
  is_async = outer.opcode.endswith("-start")
  is_async |= outer.name.startswith(account.START)
  if found.opcode.endswith("-start"):  # Returns also what goes in.
    outgoing -= incoming
  moved = {
    "all-gather": outgoing * (parts - 1) / parts,
    "reduce-scatter": incoming * (parts - 1) / parts,
    "all-reduce": 2 * incoming * (parts - 1) / parts,
    "all-to-all": incoming * (parts - 1) / parts,
  }.get(kind, incoming)
  moved = max(0.0, moved) if parts > 1 else 0.0
  return Collective(
    kind,
    axes_of(group, mesh),
    moved,
    moved / group_bandwidth(group, mesh, chip),
    is_async,
  )


def axes_of(group: list[int], mesh: Mesh) -> str:
  """The mesh axes along which the devices of a group differ."""
  places = np.stack(np.unravel_index(group, mesh.devices.shape), axis=1)
  varies = (places != places[0]).any(axis=0)
  names = [axis for axis, moves in zip(mesh.axis_names, varies) if moves]
  return "+".join(names) or "none"


def group_bandwidth(group: list[int], mesh: Mesh, chip: Chip) -> float:
  """Bytes/s that leave a chip: both directions of each torus axis it spans.

  Across slices the data-centre network is the limit.
  """
  devices = mesh.devices.reshape(-1)
  members = [devices[i] for i in group]
  if len({getattr(d, "slice_index", None) for d in members}) > 1:
    return chip.dcn_bandwidth
  coords = np.array([d.coords for d in members])
  every = np.array([d.coords for d in devices])
  sides = every.max(axis=0) - every.min(axis=0) + 1
  spanned = coords.max(axis=0) - coords.min(axis=0) > 0
  # A line, not a ring: its end chips have one neighbour.
  links = sum(
    2 if side >= chip.wraps_from else 1 for side in sides[spanned].tolist()
  )
  return chip.link_bandwidth * max(1, links)
