"""What of other weights or another run a new run takes, leaf by leaf."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array

from sapiens2_jax.training.state import TrainState, by_path

Shapes = Mapping[str, jax.ShapeDtypeStruct]

OTHER = "other"
_ENCODER = "params/encoder/"
_OPTIMIZER = "optimizer"  # what people read for "opt_state"
_STARTED = ("params/", "teacher_state/", "opt_state/")
# A size at 4K is the size of this name's beginning behind a window stage, whose
# modules have names of this beginning.
_4K, _WINDOW = "_4k", "window_"


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a run may start from; no values are read yet.

  Attributes:
    origin: where it is, for people.
    size: of the encoder.
    step: of the run that it is of; 0 if it is of none.
    arrays: by their path in a `TrainState`, e.g. "params/encoder/cls_token";
      below "other/GROUP/" what is of no use to the new run.
    load: reads arrays of these names, with these dtypes and shardings.
    needed: beginnings of paths in the new state that must all be found here.
  """

  origin: str
  size: str
  step: int
  arrays: Shapes
  load: Callable[[Shapes], Mapping[str, Array]]
  needed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Match:
  """Which arrays are taken, which start fresh, and which nobody takes.

  Attributes:
    matched: path -> shape, dtype and sharding in the new state.
    new: the rest of the new state.
    unused: the rest of the source.
  """

  matched: Shapes
  new: Shapes
  unused: Shapes

  def account(self) -> list[str]:
    """A line for each group of arrays: how many, and how many numbers.

    Of a group that is matched in part it names the modules.
    """
    lines, states = [], {}
    for state in ("matched", "new", "unused"):
      states[state] = _groups(getattr(self, state))
    matched, new, unused = states.values()
    in_part = matched.keys() & (new.keys() | unused.keys())
    for state, groups in states.items():
      lines += [] if groups else [f"{state:<8} nothing"]
      for group, arrays in groups.items():
        size = sum(x.size for x in arrays.values())
        line = f"{state:<8} {group:<17} {len(arrays):>4} arrays {size:>14,}"
        if group in in_part:
          modules = dict.fromkeys(name.split("/")[0] for name in arrays)
          line += f"  {', '.join(modules)}"
        elif group == _OPTIMIZER and group in new and group in unused:
          line += "  taken whole or not at all"
        lines.append(line)
    return lines


def _groups(arrays: Shapes) -> dict[str, Shapes]:
  """By what an array belongs to, e.g. "decoder" or "optimizer"."""
  groups = {}
  for name, x in arrays.items():
    group, rest = name.split("/", 1)
    if group == "opt_state":
      group = _OPTIMIZER
    else:
      group, _, rest = rest.partition("/")
    groups.setdefault(group, {})[rest] = x
  return groups


def match(parts: Parts, abstract: TrainState, size: str) -> Match:
  """Compares paths and shapes.

  Of the encoder all must fit, but for the window stage of a 4K size that starts
  from the same size without it. The optimizer fits as a whole or not at all:
  it has one count of steps, by which Adam corrects the moments of all arrays.

  Args:
    parts: that exist.
    abstract: shapes, dtypes and shardings of the new state.
    size: of its encoder.

  Raises:
    ValueError: the encoder is another one, or something that is needed does
      not fit; says what.
  """
  if size not in (parts.size, parts.size + _4K):
    raise ValueError(
      f"model.init_from: {parts.origin} holds a {parts.size}, expected "
      f"model.size={size}."
    )
  targets = {
    name: x
    for name, x in by_path(abstract).items()
    if name.startswith(_STARTED)
  }
  _check_encoder(parts, targets, size)
  fits = {
    name
    for name, x in targets.items()
    if name in parts.arrays and parts.arrays[name].shape == x.shape
  }
  _check_needed(parts, targets, fits)
  optimizer = {name for name in targets if name.startswith("opt_state/")}
  if not optimizer <= fits:
    fits -= optimizer
  return Match(
    {name: x for name, x in targets.items() if name in fits},
    {name: x for name, x in targets.items() if name not in fits},
    {name: x for name, x in parts.arrays.items() if name not in fits},
  )


def _check_encoder(parts: Parts, targets: Shapes, size: str) -> None:
  def encoder(arrays: Shapes) -> dict[str, tuple[int, ...]]:
    return {
      name.removeprefix(_ENCODER): x.shape
      for name, x in arrays.items()
      if name.startswith(_ENCODER)
    }

  given, wanted = encoder(parts.arrays), encoder(targets)
  may_lack = _WINDOW if size != parts.size else ()
  problems = {
    "missing": [
      name
      for name in wanted
      if name not in given and not name.startswith(may_lack)
    ],
    "unexpected": [name for name in given if name not in wanted],
    "wrong shape": [
      f"{name} {shape} should be {wanted[name]}"
      for name, shape in given.items()
      if name in wanted and wanted[name] != shape
    ],
  }
  if any(problems.values()):
    lines = [f"model.init_from: the encoder of {parts.origin} is no {size}"]
    for what, found in problems.items():
      if found:
        lines.append(f"  {what} ({len(found)}): {', '.join(found)}")
    raise ValueError("\n".join(lines))


def _check_needed(parts: Parts, targets: Shapes, fits: set[str]) -> None:
  lacking = [
    f"  {name}: {tuple(parts.arrays[name].shape)}, expected {tuple(x.shape)}"
    if name in parts.arrays
    else f"  {name}: missing, expected {tuple(x.shape)}"
    for name, x in targets.items()
    if name.startswith(parts.needed) and name not in fits
  ]
  if lacking:
    raise ValueError(
      f"model.init_from: of {parts.origin} all of {', '.join(parts.needed)} "
      f"must fit; this does not ({len(lacking)}):\n" + "\n".join(lacking)
    )
