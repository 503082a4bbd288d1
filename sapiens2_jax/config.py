"""Loads an experiment, applies overrides and reports every mistake at once."""

import ast
import importlib.util
import json
import os
import pathlib
import traceback
import types
from collections.abc import Callable

from ml_collections import ConfigDict

from sapiens2_jax import errors, fields

# Experiments that have names: in a wheel, and in a clone.
_PACKAGE = pathlib.Path(__file__).parent
_FOLDERS = (_PACKAGE / "experiments", _PACKAGE.parent / "experiments")


class ConfigError(ValueError):
  """Mistakes in a configuration, all of them.

  Attributes:
    origin: the experiment, as given.
    problems: (what was given, what is wrong with it) pairs.
  """

  def __init__(self, origin: str, problems: fields.Problems):
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


def experiments() -> dict[str, pathlib.Path]:
  """The files of all experiments that have a name, e.g. `pretrain`."""
  folder = next(filter(pathlib.Path.is_dir, _FOLDERS), None)
  paths = sorted(folder.rglob("*.py")) if folder else []
  return {str(path.relative_to(folder).with_suffix("")): path for path in paths}


def find_experiment(spec: str) -> str:
  """The file of an experiment.

  Args:
    spec: a name of `experiments`, or the path of a file, X.py; what stands
      behind a colon is not looked at.

  Raises:
    ConfigError: there is none.
  """
  name, known = spec.partition(":")[0], experiments()
  if name in known:
    return str(known[name])
  is_file = name.endswith(".py")
  if is_file and os.path.isfile(name):
    return name
  stem = os.path.basename(name).removesuffix(".py")
  wrong = "no such file" if is_file else "no such experiment"
  wrong += f"; did you mean {stem}?" if stem in known else ""
  wrong += "" if stem in known else errors.nearest(stem, known)
  listed = ", ".join(known)
  wrong += f" (known: {listed}; or the path of a file, X.py)"
  raise ConfigError(spec, [(name, wrong)])


def _load_file(spec: str) -> ConfigDict:
  path, argument = find_experiment(spec), spec.partition(":")[2]
  try:
    module = load_module(path)
    if not hasattr(module, "get_config"):
      raise ConfigError(spec, [(path, "has no get_config()")])
    return module.get_config(argument) if argument else module.get_config()
  except (ConfigError, MemoryError):
    raise
  except (Exception, SystemExit) as error:
    raise ConfigError(spec, [_explain(error, path, argument)]) from error


def _explain(error: BaseException, path: str, argument: str) -> tuple[str, str]:
  """Where in a user's file an error arose, and what it says.

  Frames that are ours, or of what the file calls, tell the user nothing.
  """
  file, kind = os.path.abspath(path), type(error).__name__
  if isinstance(error, SyntaxError):
    where = "" if error.filename in (file, None) else f"{error.filename}, "
    wrong = f"{(error.text or '').strip()}: {kind}: {error.msg}"
    return f"{where}line {error.lineno}", wrong
  stack = traceback.extract_tb(error.__traceback__)
  lines = [one for one in stack if one.filename == file]
  if isinstance(error, ValueError):
    is_bug = stack[-1].filename == file and not lines[-1].line.startswith(
      "raise"
    )
    if not is_bug:
      return argument or path, str(error)
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]  # As ml_collections raises them.
  message = error if isinstance(error, OSError) else (*error.args, "")[0]
  if not lines:
    return path, f"{kind}: {message}"
  wrong = " ".join(f"{lines[-1].line}: {kind}: {message}".split())
  return f"line {lines[-1].lineno}", wrong


def _parse(text: str, current: object) -> object:
  """Reads `text` as a value like `current`, or raises ValueError."""
  if isinstance(current, str):
    return text
  if isinstance(current, bool):
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() in values:
      return values[text.lower()]
    raise ValueError("expected true or false")
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    # The last two are what Python says of thousands of brackets.
    raise ValueError(f"expected {type(current).__name__}") from None


def apply_overrides(
  config: ConfigDict, overrides: list[str]
) -> fields.Problems:
  """Sets `name=value` pairs in place; returns the problems found.

  Whether a value is of its field's type is for `validate` to say.
  """
  problems = []
  known = dict(fields.leaves(config))
  for override in overrides:
    name, equals, text = override.partition("=")
    if not equals:
      problems.append((override, "has no value; write name=value"))
    elif name not in known:
      hint = fields.nearest(name, list(known))
      problems.append((override, "no such field" + hint))
    else:
      try:
        fields.set_value(config, name, _parse(text, known[name]))
      except ValueError as error:
        problems.append((override, str(error)))
  return problems


def load_config(
  spec: str,
  overrides: list[str],
  validate: Callable[[ConfigDict], fields.Problems],
) -> ConfigDict:
  """Reads an experiment, applies overrides, validates.

  Args:
    spec: NAME:ARGUMENT or FILE.py:ARGUMENT; get_config() is given the latter.
    overrides: `group.field=value` texts.
    validate: config -> what is wrong with it.

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
  """Inverse of `to_json`; lists become tuples again.

  `validation.read_config` reads what an older version wrote, too.
  """

  def group(items: dict) -> dict:
    return {name: fields.convert(x, x) for name, x in items.items()}

  return ConfigDict(json.loads(text, object_hook=group))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
  """Lines `name: old -> new` for fields that are not equal."""
  before, after = (dict(fields.leaves(config)) for config in (old, new))
  return [
    f"{name}: {fields.show(before, name)} -> {fields.show(after, name)}"
    for name in sorted(before | after)
    if before.get(name) != after.get(name)
  ]
