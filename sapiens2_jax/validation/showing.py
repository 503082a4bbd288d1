"""Configs of experiments, runs and checkpoints, for people to read."""

import textwrap

from ml_collections import ConfigDict

from data_pipelines.common import storage
from sapiens2_jax import config as config_lib
from sapiens2_jax import fields, validation
from sapiens2_jax.training import checkpoints, writers


def read(spec: str, overrides: list[str]) -> ConfigDict:
  """The resolved config of an experiment, a run or a checkpoint.

  Args:
    spec: NAME:ARGUMENTS or FILE.py:ARGUMENTS, or the workdir of a run, or one
      of its checkpoints. A name is that of the experiment, as for --config,
      also where a directory has it: that is ./NAME.
    overrides: `group.field=value` texts.

  Raises:
    ConfigError: with all mistakes.
    ValueError: a newer version wrote it.
    DamagedError: it is a checkpoint, and damaged.
  """
  config = _read_written(spec)
  if config is None:
    return config_lib.load_config(spec, overrides, check)
  problems = config_lib.apply_overrides(config, overrides) + check(config)
  if problems:
    raise config_lib.ConfigError(spec, problems)
  return config


def _read_written(place: str) -> ConfigDict | None:
  """What a run or a checkpoint holds; None if it is neither."""
  if place in config_lib.experiments() or not storage.is_directory(place):
    return None
  if checkpoints.is_one(place):
    return checkpoints.load_run(place, validation.read_config)[1]
  path = storage.join(place, writers.CONFIG_FILE)
  if storage.exists(path):
    return validation.read_config(storage.read_bytes(path).decode(), path)
  wrong = "holds neither the config of a run nor a checkpoint"
  raise config_lib.ConfigError(place, [(place, wrong)])


def kind_of(config: ConfigDict) -> str:
  """Which kind of all, see `validation.default_config`."""
  own = {"curation": "scorers", "probe": "features"}
  found = [kind for kind, group in own.items() if group in config]
  return (*found, validation.kind_of(config))[0]


def check(config: ConfigDict) -> fields.Problems:
  """What is wrong with single fields; other rules depend on devices."""
  return validation.check_fields(config, kind_of(config))


def describe(config: ConfigDict) -> str:
  """All fields, each with its value, its sentence and where that is from."""
  task = validation.task_of(config)
  schema, lines = validation.schema_of(kind_of(config), task), []
  for name, value in sorted(fields.leaves(config)):
    field = schema[name]
    default = f"; default {field.default!r}" if value != field.default else ""
    lines.append(f"{name}={value!r}")
    text = f"{field.text} ({field.source}{default})"
    lines += textwrap.wrap(
      text, 80, initial_indent="  ", subsequent_indent="  "
    )
  return "\n".join(lines)
