"""Fields of a config: what each is for, its default and what it may be.

A schema maps dotted names, e.g. `optim.peak_lr`, to fields.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

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


def at_least(low: float) -> Check:
  return must(f"at least {low}", lambda value: value >= low)


def _two_values(_: str, value: tuple) -> str:
  return "" if len(value) == 2 else f"expected 2 values, found {len(value)}"


def _are_whole(values: tuple) -> bool:
  return all(type(value) is int and value > 0 for value in values)


ANY = must("a value", lambda value: True)
COUNT = at_least(1)
POSITIVE = must("above 0", lambda value: value > 0)
FRACTION = must("in [0, 1]", lambda value: 0 <= value <= 1)
RANGE = all_of(
  _two_values, must("0 < low <= high", lambda pair: 0 < pair[0] <= pair[1])
)
AREA = all_of(
  RANGE, must("a fraction of the area, up to 1", lambda pair: pair[1] <= 1)
)
SIZE = all_of(_two_values, must("height and width in pixels", _are_whole))
WIDTHS = must("whole numbers above 0", _are_whole)


@dataclasses.dataclass(frozen=True)
class Field:
  """One field of a config.

  Attributes:
    default: its value if nobody sets it; all values are of this type.
    text: a sentence that says what it is, with its unit.
    check: what values of this type must fulfil.
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
  config = ConfigDict(type_safe=False)
  for name, field in schema.items():
    set_value(config, name, field.default)
  return config


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Dotted names and values, e.g. `optim.peak_lr` and 1e-4; empty groups."""
  for name, value in config.items(preserve_field_references=False):
    if isinstance(value, ConfigDict) and value:
      yield from leaves(value, f"{prefix}{name}.")
    else:
      yield prefix + name, value


def set_value(config: ConfigDict, name: str, value: Any) -> None:
  """Sets a field by its dotted name, whatever its type; makes its group."""
  parent, _, leaf = name.rpartition(".")
  with config.ignore_type(), config.unlocked():
    if parent and not isinstance(config.get(parent), ConfigDict):
      config[parent] = ConfigDict(type_safe=False)
    (config[parent] if parent else config)[leaf] = value


def nearest(name: str, known: list[str]) -> str:
  """`; did you mean X?` for the field that looks most like `name`."""
  last = name.rpartition(".")[2]
  same_leaf = [k for k in known if k.rpartition(".")[2] == last]
  if same_leaf:
    return f"; did you mean {same_leaf[0]}?"
  return errors.nearest(name, known, cutoff=0.5)


def convert(value: Any, kind: type) -> Any:
  """A list as a tuple, and a whole number as a float if that is wanted."""
  if isinstance(value, (list, tuple)):
    return tuple(convert(item, type(item)) for item in value)
  return float(value) if kind is float and type(value) is int else value


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
  converted = convert(value, kind)
  if repr(converted) != repr(value):
    set_value(config, name, converted)
  if type(converted) is not kind:
    return f"expected {kind.__name__}"
  if wrong := field.check(name, converted):
    return wrong
  try:
    resolved = field.resolve(converted)
  except ValueError as error:
    return str(error)
  if resolved != converted:
    set_value(config, name, resolved)
  return ""


def complete(config: ConfigDict, schema: Schema) -> list[str]:
  """Sets missing fields to their defaults, in place; returns their names."""
  given = dict(leaves(config))
  missing = [name for name in schema if name not in given]
  for name in missing:
    set_value(config, name, schema[name].default)
  return missing
