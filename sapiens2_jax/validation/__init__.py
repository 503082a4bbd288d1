"""Schemas of configs: defaults, all mistakes at once, and older versions."""

import dataclasses
import functools
import sys

from ml_collections import ConfigDict

from sapiens2_jax import config as config_lib
from sapiens2_jax import fields
from sapiens2_jax.fields import Problems, Schema
from sapiens2_jax.pretrain.objective import matches as is_pretraining
from sapiens2_jax.tasks import registry
from sapiens2_jax.validation import curation, probe, rules, schema

_KINDS = {
  "pretrain": (schema.PRETRAIN, rules.PRETRAIN),
  "finetune": (schema.FINETUNE, rules.FINETUNE),
  "probe": (probe.PROBE, rules.PROBE),
  "curation": (curation.CURATION, rules.CURATION),
}


def kind_of(config: ConfigDict) -> str:
  """Which kind of training a config is of: "finetune" or "pretrain"."""
  return "pretrain" if is_pretraining(config) else "finetune"


def schema_of(kind: str, task: str = "") -> Schema:
  """All fields of a kind of config, with those of one task."""
  return {**_KINDS[kind][0], **registry.config_fields(task)}


def default_config(kind: str, task: str = "") -> ConfigDict:
  """What an experiment starts from: every field with its default.

  Args:
    kind: "pretrain", "finetune", "probe" or "curation".
    task: of fine-tuning; adds its own fields.

  Raises:
    ValueError: no such task.
  """
  config = fields.make_config(schema_of(kind, task))
  if task:
    config.task.name = registry.definition(task).name
  return config


def task_of(config: ConfigDict) -> str:
  """The name of a config's task, "" if there is none."""
  name = dict(fields.leaves(config)).get("task.name", "")
  return name if isinstance(name, str) else ""


def _check(config: ConfigDict, kind: str) -> dict[str, tuple[str, str]]:
  task = task_of(config)
  found = fields.check(config, schema_of(kind, task))
  if task in registry.task_names() or "task.name" in found:
    return found
  # Nobody knows the fields of this task; a rule says that there is none.
  own = ("task.", "head.")
  return {name: x for name, x in found.items() if not name.startswith(own)}


def distributed_config(overrides: list[str], origin: str) -> ConfigDict:
  """The group `distributed` of commands that have no config.

  Args:
    overrides: `distributed.field=value` texts.
    origin: what the command was given instead, for messages.

  Raises:
    ConfigError: with every problem found.
  """
  config = fields.make_config(schema.DISTRIBUTED)
  problems = config_lib.apply_overrides(config, overrides)
  problems += fields.check(config, schema.DISTRIBUTED).values()
  if problems:
    raise config_lib.ConfigError(origin, problems)
  return config.distributed


def check_fields(config: ConfigDict, kind: str | None = None) -> Problems:
  """What is wrong with single fields; see `fields.check` and `validate`."""
  found = _check(config, kind or kind_of(config))
  return list(dict.fromkeys(found.values()))


def validate(
  config: ConfigDict, num_devices: int, kind: str | None = None
) -> Problems:
  """Finds what is wrong with a configuration; see also `fields.check`.

  Args:
    config: resolved values, converted in place.
    num_devices: of the whole job.
    kind: see `default_config`; None: a training, `kind_of` says which.
  """
  kind = kind or kind_of(config)
  found = _check(config, kind)
  problems = list(found.values())
  for rule, reads in _KINDS[kind][1].items():
    if not any(f"{name}.".startswith(f"{r}.") for name in found for r in reads):
      problems += rule(config, num_devices)
  return list(dict.fromkeys(problems))


def read_config(text: str, origin: str) -> ConfigDict:
  """Reads the JSON of a training's config, by this version or an older one.

  What an older one lacks gets its default, or what was done before there was
  such a field; that is said, once.

  Args:
    text: see `config.to_json`.
    origin: file or workdir, for messages.

  Raises:
    ValueError: a newer version wrote it.
  """
  config = config_lib.from_json(text)
  version = config.get("version", 0)
  if version > schema.VERSION:
    raise ValueError(
      f"{origin}: its config has version {version}, this program knows them up "
      f"to {schema.VERSION}; use the program that wrote it, or a newer one."
    )
  notes, given = [], dict(fields.leaves(config))
  for number in range(version + 1, schema.VERSION + 1):
    for old, new in schema.RENAMED[number].items():
      if old in given and new not in given:
        fields.set_value(config, new, given[old])
        del config[old]
        notes.append(f"renamed {old} to {new}")
  config.version = schema.VERSION
  expected = schema_of(kind_of(config), task_of(config))
  for name in expected.keys() & schema.BEFORE.keys():
    default = schema.BEFORE[name]
    expected[name] = dataclasses.replace(expected[name], default=default)
  notes += [
    f"added {name}={expected[name].default!r}"
    for name in fields.complete(config, expected)
  ]
  if notes:
    _say(f"{origin}: config of version {version}: {', '.join(notes)}")
  return config


@functools.cache  # A command may read a config more than once.
def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
