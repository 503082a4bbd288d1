"""Loads an experiment, applies overrides and reports every mistake at once."""

import ast
import difflib
import importlib.util
import json
import os
import types
from collections.abc import Iterator

from ml_collections import ConfigDict

from sapiens2_jax import errors


class ConfigError(ValueError):
  """Mistakes in a configuration, all of them.

  Attributes:
    origin: the experiment, as given.
    problems: (what was given, what is wrong with it) pairs.
  """

  def __init__(self, origin: str, problems: list[tuple[str, str]]):
    self.origin, self.problems = origin, problems
    width = max(len(given) for given, _ in problems)
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    lines = [f"config: {count} in {origin}"]
    lines += [f"  {given:<{width}}   {wrong}" for given, wrong in problems]
    super().__init__("\n".join(lines))


def parse_argument(argument: str, **defaults: str) -> dict[str, str]:
  """Splits "size=0.4b,stage=main" into a dict over `defaults`.

  Raises:
    ValueError: for a name that has no default, or a part without `=`.
  """
  values = dict(defaults)
  for part in filter(None, argument.split(",")):
    name, equals, value = part.partition("=")
    if not equals or name not in defaults:
      raise ValueError(
        f"argument {part!r} is not one of "
        + ", ".join(f"{key}=..." for key in defaults)
        + errors.nearest(name, defaults)
      )
    values[name] = value
  return values


def load_module(path: str | os.PathLike) -> types.ModuleType:
  """Runs a Python file that is no part of a package, e.g. an experiment."""
  spec = importlib.util.spec_from_file_location("experiment", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _load_file(spec: str) -> ConfigDict:
  path, _, argument = spec.partition(":")
  if not os.path.isfile(path):
    raise ConfigError(spec, [(path, "no such file")])
  module = load_module(path)
  if not hasattr(module, "get_config"):
    raise ConfigError(spec, [(path, "has no get_config()")])
  try:
    return module.get_config(argument) if argument else module.get_config()
  except ValueError as error:
    raise ConfigError(spec, [(argument or path, str(error))]) from error


def field_names(config: ConfigDict, prefix: str = "") -> Iterator[str]:
  """All dotted names of leaves, e.g. `optim.peak_lr`."""
  for name, value in config.items(preserve_field_references=False):
    if isinstance(value, ConfigDict):
      yield from field_names(value, f"{prefix}{name}.")
    else:
      yield prefix + name


def _parse(text: str, current, kind: type) -> object:
  """Reads `text` as a value of the field's type, or raises ValueError."""
  if kind is str:
    return text
  if kind is bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() in values:
      return values[text.lower()]
    raise ValueError("expected true or false")
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    raise ValueError(f"expected {kind.__name__}") from None
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise ValueError(f"expected {kind.__name__}")
  if kind is tuple and current and len(value) != len(current):
    raise ValueError(f"expected {len(current)} values, found {len(value)}")
  return value


def _nearest_field(name: str, known: list[str]) -> str:
  """The known dotted name that looks most like `name`, in parts or whole."""
  last = name.rpartition(".")[2]
  same_leaf = [k for k in known if k.rpartition(".")[2] == last]
  match = same_leaf or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  return f"; did you mean {match[0]}?" if match else ""


def apply_overrides(
  config: ConfigDict, overrides: list[str]
) -> list[tuple[str, str]]:
  """Sets `name=value` pairs in place; returns the problems found."""
  problems = []
  known = list(field_names(config))
  for override in overrides:
    name, equals, text = override.partition("=")
    if not equals:
      problems.append((override, "has no value; write name=value"))
    elif name not in known:
      hint = _nearest_field(name, known)
      problems.append((override, "no such field" + hint))
    else:
      group, _, leaf = name.rpartition(".")
      parent = config[group] if group else config
      try:
        parent[leaf] = _parse(text, parent[leaf], parent.get_type(leaf))
      except ValueError as error:
        problems.append((override, str(error)))
  return problems


def load_config(spec: str, overrides: list[str], validate) -> ConfigDict:
  """Reads `FILE.py:ARGUMENT`, applies overrides, validates.

  Args:
    spec: path of an experiment file, and what get_config() is given.
    overrides: `group.field=value` texts.
    validate: function config -> list of (given, wrong) problems.

  Raises:
    ConfigError: with every problem found.
  """
  config = _load_file(spec)
  problems = apply_overrides(config, overrides)
  problems += validate(config)
  if problems:
    raise ConfigError(spec, problems)
  config.lock()
  return config


def to_json(config: ConfigDict) -> str:
  """Resolved values, sorted; equal configs give equal text."""
  return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
  """Inverse of `to_json`; lists become tuples again."""

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
      return tuple(tuples(item) for item in value)
    return value

  return ConfigDict(tuples(json.loads(text)))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
  """Lines `name: old -> new` for fields that are not equal."""
  flat = [
    {name: _get(config, name) for name in field_names(config)}
    for config in (old, new)
  ]
  names = sorted(set(flat[0]) | set(flat[1]))
  return [
    f"{name}: {flat[0].get(name, '-')} -> {flat[1].get(name, '-')}"
    for name in names
    if flat[0].get(name) != flat[1].get(name)
  ]


def _get(config: ConfigDict, name: str):
  for part in name.split("."):
    config = config[part]
  return config
