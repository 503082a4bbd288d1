"""Fields of a config: what each is for, its default and what it may be.

A schema maps dotted names, e.g. `optim.peak_lr`, to fields.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.common import paths
from sapiens2_jax import errors

# (name of the field, its value) -> what is wrong with it, "" if nothing.
Check = Callable[[str, Any], str]
# (what was given, what is wrong and what would be right).
Problems = list[tuple[str, str]]


def must(be: str, is_right: Callable[[Any], bool]) -> Check:
  """Checks that `is_right(value)`; if not, the value "must be {be}"."""

  def check(_: str, value: Any) -> str:
    try:
      return "" if is_right(value) else f"must be {be}"
    except TypeError:  # Items of a tuple that cannot be compared.
      return f"must be {be}"

  return check


def all_of(*checks: Check) -> Check:
  """The first complaint of several checks."""
  return lambda *given: next(filter(None, (c(*given) for c in checks)), "")


def one_of(table: Mapping[str, Any]) -> Check:
  """A name in a table, or a tuple of such names."""

  def check(name: str, value: Any) -> str:
    try:
      for item in value if isinstance(value, tuple) else (value,):
        errors.lookup(table, item, name)
    except ValueError as error:
      return str(error)
    return ""

  return check


# Steps and images are counted in int32; no float needs to be larger.
_LARGEST = 2**31 - 1
_SMALLEST = 1e-30  # Smaller ones are 0 in float32, or their squares are.


def at_least(low: float, high: float = _LARGEST) -> Check:
  return all_of(
    must(f"at least {low}", lambda value: value >= low),
    must(f"at most {high}", lambda value: value <= high),
  )


def above_0(high: float = _LARGEST, low: float = _SMALLEST) -> Check:
  return all_of(must("above 0", lambda value: value > 0), at_least(low, high))


def _two_values(_: str, value: tuple) -> str:
  return "" if len(value) == 2 else f"expected 2 values, found {len(value)}"


def are_whole(high: int) -> Callable[[tuple], bool]:
  """Whether all items are whole numbers from 1 to `high`."""
  return lambda values: all(
    type(value) is int and 0 < value <= high for value in values
  )


def are_names(values: tuple) -> bool:
  """Whether all items are texts, and no two the same."""
  is_text = all(isinstance(value, str) for value in values)
  return is_text and len(set(values)) == len(values)


ANY = must("a value", lambda value: True)
COUNT = at_least(1)
FEW = at_least(1, 4096)  # of what takes memory or a process
POSITIVE = above_0()
SECONDS = above_0(1e8, low=0.1)
FRACTION = must("in [0, 1]", lambda value: 0 <= value <= 1)
BELOW_1 = must("at least 0 and below 1", lambda value: 0 <= value < 1)
RANGE = all_of(
  _two_values,
  must("0 < low <= high", lambda pair: 0 < pair[0] <= pair[1]),
  must("from 0.001 to 1000", lambda p: 1e-3 <= p[0] and p[1] <= 1e3),
)
AREA = all_of(
  RANGE, must("a fraction of the area, up to 1", lambda pair: pair[1] <= 1)
)
SIZE = all_of(
  _two_values, must("height and width in pixels, to 32768", are_whole(2**15))
)
WIDTH = at_least(1, 2**16)
WIDTHS = all_of(
  must("whole numbers from 1 to 65536", are_whole(2**16)),
  must("at most 32 of them", lambda values: len(values) <= 32),
)
NAMES = must("different names", are_names)


@dataclasses.dataclass(frozen=True)
class Field:
  """One field of a config.

  Attributes:
    default: its value if nobody sets it; all values are of this type.
    text: a sentence that says what it is, with its unit.
    check: what values of this type must fulfil; numbers are finite, tuples
      hold neither tuples nor bools, and texts no control characters.
    source: where the default comes from: "paper", "reference" (the public
      Sapiens2 release), "DINOv3" or "ours"; "": as its group says.
    resolve: what a config keeps instead of a value, such as the content of a
      file that others may not have; raises ValueError.
  """

  default: Any
  text: str
  check: Check = ANY
  source: str = ""
  resolve: Callable[[Any], Any] = lambda value: value


Schema = Mapping[str, Field]


def group(name: str, source: str, /, **fields: Field) -> dict[str, Field]:
  """A schema of the fields of one group; `source` is of those without one."""
  return {
    f"{name}.{leaf}": dataclasses.replace(field, source=field.source or source)
    for leaf, field in fields.items()
  }


def with_defaults(schema: Schema, source: str, **defaults: Any) -> Schema:
  """The fields of a group with other defaults, by their names in it."""
  changed = {
    name: dataclasses.replace(field, default=defaults.pop(leaf), source=source)
    for name, field in schema.items()
    if (leaf := name.rpartition(".")[2]) in defaults
  }
  if defaults:
    raise ValueError(f"no such fields: {', '.join(defaults)}.")
  return {**schema, **changed}


def make_config(schema: Schema) -> ConfigDict:
  """All fields with their defaults.

  Setting another type raises nothing: `check` lists it with all else.
  """
  values = {}  # At once: setting one takes 0.2 ms.
  for name, field in schema.items():
    parent, _, leaf = name.rpartition(".")
    group = values.setdefault(parent, {}) if parent else values
    group[leaf] = field.default
  return ConfigDict(values, type_safe=False)


def show(values: Mapping[str, Any], name: str) -> str:
  """A field for a message; also what is empty, and what is not there."""
  found = values.get(name, "not there")
  return '""' if found == "" else f"{found}"


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Dotted names and values, e.g. `optim.peak_lr` and 1e-4; empty groups."""
  for name, value in config.items(preserve_field_references=False):
    if isinstance(value, ConfigDict) and value:
      yield from leaves(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value  # A file's own dict may have other keys.


def set_value(config: ConfigDict, name: str, value: Any) -> None:
  """Sets a field by its dotted name, whatever its type; makes its group."""
  parent, _, leaf = name.rpartition(".")
  with config.ignore_type(), config.unlocked():
    if parent and not isinstance(config.get(parent), ConfigDict):
      config[parent] = ConfigDict(type_safe=False)
    group = config[parent] if parent else config
    if leaf in group:
      del group[leaf]  # Else a whole number becomes what was there, a float.
    group[leaf] = value


def nearest(name: str, known: list[str]) -> str:
  """`; did you mean X?` for the field that looks most like `name`."""
  last = name.rpartition(".")[2]
  same_leaf = [k for k in known if k.rpartition(".")[2] == last]
  if same_leaf:
    return f"; did you mean {same_leaf[0]}?"
  return errors.nearest(name, known, cutoff=0.5)


def convert(value: Any, like: Any) -> Any:
  """What people write for a value, as it is meant.

  A list is a tuple, a whole number may stand for a float and a float without
  a fraction for a whole number, and `~` for the home of the user.

  Args:
    value: as it was given.
    like: a value of the type that is wanted; the items of a tuple are taken
      to be like its first one.
  """
  if isinstance(value, list | tuple):
    first = like[:1] if isinstance(like, tuple) else ()
    return tuple(convert(item, *(first or (item,))) for item in value)
  if isinstance(value, str):
    return paths.expand_home(value)
  kind = type(like)
  if kind is float and type(value) is int and abs(value) <= _LARGEST:
    return float(value)
  if kind is int and type(value) is float and value.is_integer():
    return int(value)
  return value


def check(config: ConfigDict, schema: Schema) -> dict[str, tuple[str, str]]:
  """Compares a config with a schema.

  Lists become tuples in place, and whole numbers floats where the field is one.

  Returns:
    For each field that is wrong, unknown or missing: what was given, and what
    is wrong with it.
  """
  problems, members, given = {}, {}, dict(leaves(config))
  for name in schema:
    members.setdefault(name.rpartition(".")[0], []).append(name)
  for name, value in given.items():
    if name in schema:
      wrong = _check_value(config, name, value, schema[name])
    else:
      hint = nearest(name, list(schema))
      wrong = "" if name in members else "no such field" + hint
    if wrong:
      problems[name] = f"{name}={value}".strip(), wrong
  for parent, names in members.items():
    if parent and not isinstance(config.get(parent), ConfigDict):
      expected = ", ".join(name.rpartition(".")[2] for name in names)
      wrong = parent, f"expected a group with the fields {expected}"
      problems |= dict.fromkeys(names, wrong)
    else:
      problems |= {
        name: (name, f"is missing; its default is {schema[name].default!r}")
        for name in names
        if name not in given
      }
  return problems


def _check_value(config: ConfigDict, name: str, value: Any, field: Field):
  kind = type(field.default)
  converted = convert(value, field.default)
  if repr(converted) != repr(value):
    set_value(config, name, converted)
  if type(converted) is not kind:
    return f"expected {kind.__name__}"
  items = converted if kind is tuple else (converted,)
  wrong = next(filter(None, map(_is_odd, items)), "")
  if kind is tuple and not wrong and bool in map(type, items):
    wrong = "must hold numbers or texts, no true or false"
  if wrong := wrong or field.check(name, converted):
    return wrong
  try:
    resolved = field.resolve(converted)
  except ValueError as error:
    return str(error)
  if resolved != converted:
    set_value(config, name, resolved)
  return ""


def _is_odd(item: Any) -> str:
  """What is wrong with a value, or an item of a tuple, whatever it is for."""
  if isinstance(item, float) and not math.isfinite(item):
    return "must be finite"
  if isinstance(item, str) and any(ord(letter) < 32 for letter in item):
    return "must be a text without control characters"
  return "" if type(item) in (bool, int, float, str) else "must be flat"


def complete(config: ConfigDict, schema: Schema) -> list[str]:
  """Sets missing fields to their defaults, in place; returns their names."""
  given = dict(leaves(config))
  missing = [name for name in schema if name not in given]
  for name in missing:
    set_value(config, name, schema[name].default)
  return missing
