"""Adds up what a compiled program does, loops counted as often as they run.

The compiler's own `cost_analysis` counts the body of a loop once and a Pallas
kernel not at all, hence this account. What is counted, on one device:

- matrix products (`dot`, `convolution`): 2 FLOPs a multiply-add;
- bytes that an instruction reads from and writes to HBM, in tiles as they lie
  there; what a loop slices out of a stacked array counts as the slice; what is
  started and awaited later (mostly fetched into the chip's memory) by itself;
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
# The TPU's reduce-scatter is a fusion of an all-reduce and what is cut of it.
_SCATTER = "all-reduce-scatter"
_SLICES = ("dynamic-slice", "slice", "gather")
_TRANSFERS = ("copy-start", "slice-start", "async-start")
_VIEWS = ("bitcast", "copy", "convert", "reshape", "transpose")


@dataclasses.dataclass(frozen=True)
class Work:
  """One instruction, and how often a step runs it."""

  instruction: hlo.Instruction
  times: int  # runs in one step
  flops: int  # of matrix products, in one run
  hbm_bytes: int  # read and written, in one run
  kernel: str  # name of the Pallas kernel, "" for others
  is_transfer: bool  # started here and awaited elsewhere; no collective
  collective: hlo.Instruction | None  # itself, or what it starts


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

  Loops of a scan count from one constant up to another, those of products that
  are cut into collectives by two.
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
  body = loop.called[loop.attribute(r"body=%([\w.\-]+)")]
  following = _through_views(hlo.root(body).operands[index])
  steps = [i for i in following.operands if i.opcode == "constant"]
  if start.opcode != "constant" or following.opcode != "add" or not steps:
    return None
  count = int(bound.arguments) - int(start.arguments)
  return -(-count // int(steps[0].arguments))


def _through_views(item: hlo.Instruction) -> hlo.Instruction:
  """Where the value of an instruction was made."""
  while item.opcode in _VIEWS or _is_relaid(item):
    item = item.operands[0]
  return item


def _weight(works: list[Work]) -> int:
  return sum(w.times * (w.flops + w.hbm_bytes) for w in works)


def _make_work(item: hlo.Instruction, times: int) -> Work:
  kernel, target = "", item.attribute(r'custom_call_target="([^"]*)"')
  if (item.opcode, target) == ("custom-call", "tpu_custom_call"):
    kernel = item.attribute(r'op_name="([^"]*)"') or item.name
  collective = find_collective(item)
  is_begun = item.name.startswith(START) or is_scatter(item)
  if item.opcode == "fusion" and not is_begun:
    collective = None  # Carried along.
  return Work(
    item,
    times,
    count_flops(item),
    count_bytes(item),
    kernel,
    item.opcode in _TRANSFERS and not collective,
    collective,
  )


def collective_kind(instruction: hlo.Instruction) -> str:
  """E.g. "all-gather", also for its start; "" for what is none."""
  kind = instruction.opcode.removesuffix("-start")
  return kind if kind in COLLECTIVES else ""


def is_scatter(item: hlo.Instruction) -> bool:
  """Whether a fusion is a reduce-scatter."""
  return item.opcode == "fusion" and next(iter(item.called)).startswith(
    _SCATTER
  )


def _inner(item: hlo.Instruction) -> Iterator[hlo.Instruction]:
  """What a fusion, an async-start or a call of another core consists of."""
  if item.opcode in ("fusion", "async-start", "custom-call"):
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
  if instruction.opcode == "async-start":
    inner = (i for i in _inner(instruction) if i.opcode not in _FREE)
    return sum(map(count_bytes, inner))
  if instruction.opcode in _SLICES:
    source = instruction.operands[0].result[0]
    return instruction.hbm_bytes + _part_of(source, instruction)
  if instruction.opcode == "dynamic-update-slice":
    target, update = instruction.operands[:2]
    return update.hbm_bytes + _part_of(target.result[0], update)
  if instruction.opcode == "fusion":
    return _fusion_bytes(instruction)
  if "AllocateBuffer" in instruction.rest:
    return 0
  read = sum(operand.hbm_bytes for operand in instruction.operands)
  return read + instruction.hbm_bytes


def _part_of(whole: hlo.Array, part: hlo.Instruction) -> int:
  """Bytes of HBM that a part takes of an array; none of one on the chip."""
  return part.num_bytes if whole.memory_space == hlo.HBM else 0


def _fusion_bytes(fusion: hlo.Instruction) -> int:
  """Counts the slices of what is only sliced, and no read of an update."""
  inner = fusion.body
  users = _find_users(inner)
  updated = _updates(inner)
  total = 0
  for item in inner.values():
    if item.opcode != "parameter" or item in updated:
      continue
    if not all(map(_only_carries, users[item])):
      whole = fusion.operands[int(item.arguments)].hbm_bytes
      total += _bytes_read(item, users, whole)
  return total + sum(_written(fusion, updated))


Users = dict[hlo.Instruction, list[hlo.Instruction]]


def _find_users(inner: hlo.Computation) -> Users:
  users = collections.defaultdict(list)
  for item in inner.values():
    for operand in item.operands:
      users[operand].append(item)
  return users


def _bytes_read(value: hlo.Instruction, users: Users, whole: int) -> int:
  """Of a value of `whole` bytes, by those that use it within a fusion."""
  total = whole if value.is_root else 0
  for user in users[value]:
    if user.opcode in _SLICES:
      total += user.num_bytes
    elif user.opcode in ("bitcast", "copy") or _is_relaid(user):
      total += _bytes_read(user, users, whole)
    elif user.opcode == "fusion":
      index = str(user.operands.index(value))
      inner = user.body
      (same,) = (
        item
        for item in inner.values()
        if item.opcode == "parameter" and item.arguments == index
      )
      total += _bytes_read(same, _find_users(inner), whole)
    else:
      total += whole
  return min(total, whole)


def _is_relaid(item: hlo.Instruction) -> bool:
  """Whether a fusion within one only reads its operand in other tiles."""
  called = next(iter(item.called), "") if item.opcode == "fusion" else ""
  return called.startswith("copy_fusion")


def _only_carries(reader: hlo.Instruction) -> bool:
  """Whether an instruction of a fusion belongs to a collective beside it."""
  is_end = reader.is_root and reader.opcode == "tuple"
  return is_end or bool(collective_kind(reader))


def _written(
  fusion: hlo.Instruction, updated: dict[hlo.Instruction, int]
) -> Iterator[int]:
  """Bytes of each result, without what the fusion only carries along."""
  root = hlo.root(fusion.body)
  makers = (root,)
  if root.opcode == "tuple" and len(root.operands) == len(fusion.result):
    makers = root.operands
  elif len(fusion.result) > 1:
    makers = (None,) * len(fusion.result)
  for array, maker in zip(fusion.result, makers):
    if maker is None:
      yield array.hbm_bytes
    elif maker.opcode == "parameter" or collective_kind(maker):
      continue
    else:
      maker = _through_views(maker)
      is_update = maker.opcode == "dynamic-update-slice"
      part = (
        updated.get(_through_views(maker.operands[0])) if is_update else None
      )
      yield array.hbm_bytes if part is None else min(array.hbm_bytes, part)


def _updates(inner: hlo.Computation) -> dict[hlo.Instruction, int]:
  """Parameters of which only a part is replaced -> bytes of that part."""
  updates = {}
  for item in inner.values():
    if item.opcode == "dynamic-update-slice":
      target = _through_views(item.operands[0])
      if target.opcode == "parameter":
        updates[target] = item.operands[1].num_bytes
  return updates
