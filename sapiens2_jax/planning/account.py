"""Adds up what a compiled program does, loops counted as often as they run.

The compiler's own `cost_analysis` counts the body of a loop once and a Pallas
kernel not at all, hence this account. What is counted, on one device:

- matrix products (`dot`, `convolution`): 2 FLOPs a multiply-add;
- bytes that an instruction reads from and writes to HBM, in tiles as they lie
  there; what a loop slices out of a stacked array counts as the slice;
- kernels and collectives: listed, for `kernels` and `collectives` to judge;
- the compiler's estimate of cycles, which knows about tiles and vector units.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

import numpy as np

from sapiens2_jax.planning import hlo

# Instructions that do nothing by themselves.
_FREE = frozenset(
  (
    "parameter constant tuple get-tuple-element bitcast after-all while call "
    "conditional copy-done slice-done async-done async-update partition-id "
    "replica-id opt-barrier custom-call-done send-done recv-done"
  ).split()
)
COLLECTIVES = frozenset(
  (
    "all-gather all-reduce reduce-scatter all-to-all collective-permute "
    "collective-broadcast ragged-all-to-all"
  ).split()
)
# A collective that runs beside several products is a fusion that starts it,
# fusions of a product that carry it along, and one that awaits it.
START, _DONE = "async-collective-start", "async-collective-done"
_SLICES = ("dynamic-slice", "slice", "gather")
_VIEWS = ("bitcast", "copy", "convert", "reshape", "transpose")


@dataclasses.dataclass(frozen=True)
class Work:
  """One instruction, and how often a step runs it."""

  instruction: hlo.Instruction
  times: int  # runs in one step
  flops: int  # of matrix products, in one run
  hbm_bytes: int  # read and written, in one run
  kernel: str  # name of the Pallas kernel, "" for others
  collective: str  # kind, "" for others
  groups: str  # text with the devices that a collective joins


def walk(program: hlo.Program) -> list[Work]:
  """All work of a program, from its entry through loops and branches.

  Of a branch the most costly side is counted, as every step could take it.
  """
  return list(_walk(program.computations[program.entry], 1))


def _walk(computation: hlo.Computation, times: int) -> Iterator[Work]:
  for item in computation.values():
    if item.opcode in ("while", "call"):
      count = (trip_count(item) or 1) if item.opcode == "while" else 1
      for called in item.called.values():
        yield from _walk(called, times * count)
    elif item.opcode == "conditional":
      sides = [list(_walk(called, times)) for called in item.called.values()]
      yield from max(sides, key=_weight, default=[])
    elif item.opcode not in _FREE and not item.name.startswith(_DONE):
      yield _make_work(item, times)


def trip_count(loop: hlo.Instruction) -> int | None:
  """How often a loop runs; None if only the data tells.

  Loops of a scan count from one constant up to another.
  """
  known = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"\}')
  if known:
    return int(known)
  test = hlo.root(loop.called[loop.attribute(r"condition=%([\w.\-]+)")])
  if test.opcode != "compare" or "direction=LT" not in test.rest:
    return None
  (counter, bound), (state,) = test.operands, loop.operands
  kinds = (counter.opcode, bound.opcode, state.opcode)
  if kinds != ("get-tuple-element", "constant", "tuple"):
    return None
  index = int(counter.attribute(r"index=(\d+)"))
  start = _through_views(state.operands[index])
  if start.opcode != "constant":
    return None
  return int(bound.arguments) - int(start.arguments)


def _through_views(item: hlo.Instruction) -> hlo.Instruction:
  """Where the value of an instruction was made."""
  while item.opcode in _VIEWS:
    item = item.operands[0]
  return item


def _weight(works: list[Work]) -> int:
  return sum(w.times * (w.flops + w.hbm_bytes) for w in works)


def _make_work(item: hlo.Instruction, times: int) -> Work:
  kernel, target = "", item.attribute(r'custom_call_target="([^"]*)"')
  if (item.opcode, target) == ("custom-call", "tpu_custom_call"):
    kernel = item.attribute(r'op_name="([^"]*)"') or item.name
  collective = find_collective(item)
  if item.opcode == "fusion" and not item.name.startswith(START):
    collective = None
  return Work(
    item,
    times,
    count_flops(item),
    count_bytes(item),
    kernel,
    collective_kind(collective) if collective else "",
    collective.rest if collective else "",
  )


def collective_kind(instruction: hlo.Instruction) -> str:
  """E.g. "all-gather", also for its start; "" for what is none."""
  kind = instruction.opcode.removesuffix("-start")
  return kind if kind in COLLECTIVES else ""


def _inner(item: hlo.Instruction) -> Iterator[hlo.Instruction]:
  """The instructions of a fusion, or of what an async-start begins."""
  if item.opcode in ("fusion", "async-start"):
    for called in item.called.values():
      yield from called.values()


def find_collective(instruction: hlo.Instruction) -> hlo.Instruction | None:
  """The instruction itself, or the collective within what it starts."""
  if collective_kind(instruction):
    return instruction
  return next(filter(None, map(find_collective, _inner(instruction))), None)


def kept_for_backward(program: hlo.Program) -> int:
  """Bytes of what forward loops stack up: one row in each round.

  Those are loops outside the transposed (backward) part whose body writes a
  row of an array with as many rows as it has rounds.
  """
  total = 0
  for loop in program.instructions():
    name = loop.attribute(r'op_name="([^"]*)"') or ""
    if loop.opcode != "while" or "transpose(" in name or "jvp" not in name:
      continue
    count = trip_count(loop)
    for item in loop.called[loop.attribute(r"body=%([\w.\-]+)")].values():
      is_update = item.opcode == "dynamic-update-slice"
      if is_update or (item.opcode == "fusion" and _updates(item.body)):
        total += sum(a.hbm_bytes for a in item.result if a.dims[:1] == (count,))
  return total


def count_unknown_loops(program: hlo.Program) -> int:
  """Loops that `walk` counts once because only the data tells their length."""
  loops = (i for i in program.instructions() if i.opcode == "while")
  return sum(trip_count(loop) is None for loop in loops)


def count_flops(instruction: hlo.Instruction) -> int:
  """FLOPs of the matrix products of one run."""
  if instruction.opcode == "convolution":
    return _convolution_flops(instruction)
  if instruction.opcode == "dot":
    return _dot_flops(instruction)
  return sum(map(count_flops, _inner(instruction)))


def _dot_flops(item: hlo.Instruction) -> int:
  left = item.operands[0].result[0].dims
  axes = item.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
  contracted = math.prod(left[int(axis)] for axis in axes.split(",") if axis)
  return 2 * math.prod(item.result[0].dims) * contracted


def _convolution_flops(item: hlo.Instruction) -> int:
  """Products of inputs and kernel values that exist, not those of padding."""
  labels = item.attribute(r"dim_labels=([\w?]+_[\w?]+->[\w?]+)")
  left, right, out = re.split("_|->", labels)
  lhs, rhs = (operand.result[0].dims for operand in item.operands)
  dims = item.result[0].dims
  spatial = 1
  for axis, window in enumerate(_read_windows(item)):
    sizes = (
      lhs[left.index(str(axis))],
      rhs[right.index(str(axis))],
      dims[out.index(str(axis))],
    )
    spatial *= _valid_products(*sizes, *window)
  batch, features = dims[out.index("b")], dims[out.index("f")]
  return 2 * spatial * batch * features * rhs[right.index("i")]


def _read_windows(item: hlo.Instruction) -> Iterator[tuple[int, ...]]:
  """Stride, low padding, dilations of input and kernel, of each axis."""
  text = item.attribute(r"window=\{([^}]*)\}") or ""
  fields = dict(part.split("=") for part in text.split())
  names = ("stride", "pad", "lhs_dilate", "rhs_dilate")
  for axis, _ in enumerate(filter(None, fields.get("size", "").split("x"))):
    stride, pad, *dilations = (
      fields[name].split("x")[axis] if name in fields else default
      for name, default in zip(names, ("1", "0_0", "1", "1"))
    )
    yield int(stride), int(pad.split("_")[0]), *map(int, dilations)


def _valid_products(
  size: int, kernel: int, out: int, stride: int, low: int, base: int, tap: int
) -> int:
  at = np.add.outer(stride * np.arange(out) - low, tap * np.arange(kernel))
  is_there = (at >= 0) & (at <= (size - 1) * base) & (at % base == 0)
  return int(is_there.sum())


def count_bytes(instruction: hlo.Instruction) -> int:
  """Bytes of HBM that one run reads and writes."""
  if instruction.opcode in ("copy-start", "slice-start"):
    # (destination, source, context): one side of it may lie on the chip.
    return sum(a.hbm_bytes for a in instruction.result[:2])
  if instruction.opcode in _SLICES:
    return 2 * instruction.hbm_bytes
  if instruction.opcode == "dynamic-update-slice":
    return 2 * instruction.operands[1].hbm_bytes
  if instruction.opcode == "fusion":
    return _fusion_bytes(instruction)
  if "AllocateBuffer" in instruction.rest:
    return 0
  read = sum(operand.hbm_bytes for operand in instruction.operands)
  return read + instruction.hbm_bytes


def _fusion_bytes(fusion: hlo.Instruction) -> int:
  """Counts the slices of what is only sliced, and no read of an update."""
  inner = fusion.body
  users = collections.defaultdict(list)
  for item in inner.values():
    for operand in item.operands:
      users[operand].append(item)
  updated = _updates(inner)
  total = 0
  for item in inner.values():
    if item.opcode != "parameter":
      continue
    whole = fusion.operands[int(item.arguments)].hbm_bytes
    readers = _real_users(item, users)
    is_carried = readers and all(map(_only_carries, readers))
    if item in updated or is_carried:
      continue
    if readers and all(reader.opcode in _SLICES for reader in readers):
      whole = min(whole, sum(reader.num_bytes for reader in readers))
    total += whole
  outputs = sum(a.hbm_bytes for a in _results(fusion))
  if updated:
    outputs = min(outputs, sum(updated.values()))
  return total + outputs


def _only_carries(reader: hlo.Instruction) -> bool:
  """Whether an instruction of a fusion belongs to a collective beside it."""
  is_end = reader.is_root and reader.opcode == "tuple"
  return is_end or bool(collective_kind(reader))


def _results(fusion: hlo.Instruction) -> list[hlo.Array]:
  """What a fusion writes, without what it only carries along."""
  root = hlo.root(fusion.body)
  if root.opcode != "tuple" or len(root.operands) != len(fusion.result):
    return list(fusion.result)
  return [
    array
    for array, maker in zip(fusion.result, root.operands)
    if maker.opcode != "parameter" and not collective_kind(maker)
  ]


def _real_users(item: hlo.Instruction, users) -> list[hlo.Instruction]:
  """Users of a value, through bitcasts."""
  found = []
  for user in users[item]:
    is_bitcast = user.opcode == "bitcast"
    found += _real_users(user, users) if is_bitcast else [user]
  return found


def _updates(inner: hlo.Computation) -> dict[hlo.Instruction, int]:
  """Parameters of which only a part is replaced -> bytes of that part."""
  updates = {}
  for item in inner.values():
    if item.opcode == "dynamic-update-slice":
      target = _through_views(item.operands[0])
      if target.opcode == "parameter":
        updates[target] = item.operands[1].num_bytes
  return updates
