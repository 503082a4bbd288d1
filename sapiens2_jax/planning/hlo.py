"""Reads the text of a compiled program: instructions, shapes, loop counts."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "bf16": 16} | {
  f"{kind}{bits}": bits for kind in "suf" for bits in (4, 8, 16, 32, 64)
}
HBM = 0

_COMPUTATION = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^  (ROOT )?%([\w.\-]+) = ")
_END = re.compile(r"}(, execution_thread=.*)?$")
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_CALLED = re.compile(
  r"(?:calls|body|condition|to_apply|branch_computations|called_computations)="
  r"\{?((?:%[\w.\-]+(?:, )?)+)\}?"
)


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of an instruction's result."""

  dtype: str  # HLO's name, e.g. "bf16"
  dims: tuple[int, ...]  # logical sizes
  layout: str  # text between the braces, e.g. "1,0:T(8,128)(2,1)S(1)"

  @functools.cached_property
  def memory_space(self) -> int:
    """0 is HBM; others lie on the chip or, 5, on the host."""
    found = re.search(r"S\((\d+)\)", self.layout)
    return int(found.group(1)) if found else HBM

  @functools.cached_property
  def num_bytes(self) -> int:
    """Size in memory, with what tiles are padded to."""
    return math.ceil(math.prod(self.physical) * _BITS.get(self.dtype, 0) / 8)

  @functools.cached_property
  def physical(self) -> tuple[int, ...]:
    """Sizes from major to minor, the tiled ones rounded up to tiles."""
    order, _, tiling = self.layout.partition(":")
    minor_to_major = [int(i) for i in order.split(",") if i]
    if len(minor_to_major) != len(self.dims):
      return self.dims
    sizes = [self.dims[i] for i in reversed(minor_to_major)]
    tile = re.match(r"T\(([\d,]+)\)", tiling)
    if tile:
      for back, size in enumerate(reversed(tile.group(1).split(",")), 1):
        if back <= len(sizes):
          sizes[-back] = -(-sizes[-back] // int(size)) * int(size)
    return tuple(sizes)

  @property
  def hbm_bytes(self) -> int:
    return self.num_bytes if self.memory_space == HBM else 0


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
  """One line of a computation."""

  name: str  # unique in the program
  opcode: str  # e.g. "fusion"
  result: tuple[Array, ...]  # several arrays for a tuple
  operands: tuple["Instruction", ...] = dataclasses.field(repr=False)
  arguments: str  # text between the opcode's brackets
  # Computations that it runs, by name.
  called: dict[str, "Computation"] = dataclasses.field(repr=False)
  rest: str  # attributes as text
  is_root: bool  # whether it is the computation's result

  @property
  def estimated_cycles(self) -> int:
    """The compiler's own estimate, 0 where it has none."""
    return int(self.attribute(r'"estimated_cycles":"(\d+)"') or 0)

  @property
  def body(self) -> "Computation":
    """The first computation that it runs."""
    return next(iter(self.called.values()))

  @property
  def num_bytes(self) -> int:
    return sum(array.num_bytes for array in self.result)

  @property
  def hbm_bytes(self) -> int:
    return sum(array.hbm_bytes for array in self.result)

  def attribute(self, pattern: str) -> str | None:
    """What the one group of `pattern` matches in the attributes."""
    found = re.search(pattern, self.rest)
    return found.group(1) if found else None


Computation = dict[str, Instruction]


def root(computation: Computation) -> Instruction:
  """What a computation gives back."""
  return next(item for item in computation.values() if item.is_root)


@dataclasses.dataclass(frozen=True)
class Program:
  """All computations of a compiled program, and the name of the first."""

  computations: dict[str, Computation]
  entry: str

  def instructions(self) -> Iterator[Instruction]:
    for computation in self.computations.values():
      yield from computation.values()


def parse(text: str) -> Program:
  """Reads `compiled.as_text()`.

  Raises:
    ValueError: the text has no entry computation.
  """
  computations: dict[str, Computation] = {}
  entry, current, pending = None, None, ""

  def finish() -> None:
    nonlocal pending
    if pending:
      instruction = _parse_instruction(pending, current, computations)
      current[instruction.name] = instruction
      pending = ""

  for line in text.splitlines():
    header = _COMPUTATION.match(line)
    if header:
      current = computations.setdefault(header.group(2), {})
      entry = header.group(2) if header.group(1) else entry
    elif current is None:
      continue
    elif _END.match(line):
      finish()
      current = None
    elif _INSTRUCTION.match(line):
      finish()
      pending = line
    else:  # Metadata of a kernel runs over several lines.
      pending += line
  if entry is None:
    raise ValueError("The program's text has no ENTRY computation.")
  return Program(computations, entry)


def _closing(text: str, start: int) -> int:
  """Position of the bracket that closes the one at `start`."""
  depth = 0
  for i in range(start, len(text)):
    if text[i] in "({":
      depth += 1
    elif text[i] in ")}":
      depth -= 1
      if not depth:
        return i
  raise ValueError(f"Unbalanced brackets in {text[:80]!r}.")


def _parse_instruction(
  line: str, before: Computation, computations: dict[str, Computation]
) -> Instruction:
  """What a line names stands above it, in `before` and `computations`."""
  header = _INSTRUCTION.match(line)
  body = line[header.end() :]
  if body[0] == "(":
    end = _closing(body, 0) + 1
  else:
    end = body.index(" ")
  result, body = body[:end], body[end:]
  opcode = _OPCODE.match(body)
  start = opcode.end() - 1
  end = _closing(body, start)
  arguments, rest = body[start + 1 : end], body[end + 1 :]
  called = re.findall(_NAME, " ".join(_CALLED.findall(rest)))
  return Instruction(
    name=header.group(2),
    opcode=opcode.group(1),
    result=_parse_arrays(result),
    operands=tuple(before[name] for name in re.findall(_NAME, arguments)),
    arguments=arguments,
    called={name: computations[name] for name in called},
    rest=rest if opcode.group(1) != "constant" else "",
    is_root=bool(header.group(1)),
  )


def _parse_arrays(text: str) -> tuple[Array, ...]:
  return tuple(
    Array(dtype, tuple(int(size) for size in dims.split(",") if size), layout)
    for dtype, dims, layout in _ARRAY.findall(text)
  )
