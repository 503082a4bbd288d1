"""The points of a sweep: read from its file, and checked all at once."""

import dataclasses
import os
import re
from collections.abc import Mapping

from ml_collections import ConfigDict

from data_pipelines.common import storage
from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.training import writers


@dataclasses.dataclass(frozen=True)
class Point:
  """One run of a sweep."""

  values: dict[str, object]  # what it overrides, by dotted field name
  workdir: str  # where the run lives
  spec: str  # NAME:ARGUMENTS of the experiment
  overrides: tuple[str, ...]  # `group.field=value`, of all points and its own
  config: ConfigDict  # resolved

  @property
  def name(self) -> str:
    return os.path.basename(self.workdir)

  @property
  def num_steps(self) -> int:
    return self.config.optim.num_steps

  def train_flags(self) -> list[str]:
    """What stands after `sapiens2 train`."""
    return [
      *("--config", self.spec, "--workdir", self.workdir),
      *(f"--config.{override}" for override in self.overrides),
    ]


def override_text(field: str, value: object) -> str:
  """`field=value` as the parser of overrides reads it."""
  if isinstance(value, bool):
    value = str(value).lower()
  return f"{field}={value if isinstance(value, str) else repr(value)}"


def train_arguments(
  spec: str, workdir: str, values: Mapping[str, object]
) -> tuple[str, ...]:
  """Arguments of Python for one training; `values` by dotted field name."""
  return (
    *("-m", "sapiens2_jax.train", "--workdir", workdir, "--config", spec),
    *(f"--config.{override_text(*item)}" for item in values.items()),
  )


def show_value(value: object) -> str:
  """A value as names of folders and labels show it: 0.001, 96x64."""
  if isinstance(value, (tuple, list)):
    return "x".join(map(show_value, value))
  return f"{value:g}" if isinstance(value, float) else str(value)


def point_name(values: dict[str, object]) -> str:
  """A folder's name that depends on nothing but the point itself."""
  parts = [
    f"{field.rpartition('.')[2]}={show_value(value)}"
    for field, value in values.items()
  ]
  return re.sub(r"[^A-Za-z0-9._=,+-]", "-", ",".join(parts)) or "base"


def varying_fields(all_values: list[dict[str, object]]) -> list[str]:
  """Fields that tell the points apart, in order of appearance.

  Those that are the same everywhere are left out, and those that another
  one determines.
  """
  kept: list[str] = []
  columns: dict[str, list[str]] = {}
  for field in dict.fromkeys(f for values in all_values for f in values):
    column = [repr(values.get(field)) for values in all_values]
    known = [columns[k] for k in kept]
    follows = any(
      len(set(zip(other, column))) == len(set(other)) for other in known
    )
    if len(set(column)) > 1 and not follows:
      columns[field] = column
      kept.append(field)
  return kept


def load_sweep(name: str) -> tuple[str, list[dict[str, object]]]:
  """The base experiment of a sweep, and the overrides of its points.

  Args:
    name: of the sweep, or of its file.

  Raises:
    ConfigError: if it is not a file with BASE and get_sweep().
  """
  path = config_lib.find_experiment(name)
  module = config_lib.load_module(path)
  problems = [
    (path, f"has no {what}")
    for name, what in (("BASE", "BASE"), ("get_sweep", "get_sweep()"))
    if not hasattr(module, name)
  ]
  if problems:
    raise config_lib.ConfigError(path, problems)
  points = list(module.get_sweep())
  if not points:
    raise config_lib.ConfigError(path, [("get_sweep()", "gives no points")])
  return module.BASE, points


def make_points(
  name: str, output: str, common: list[str], num_devices: int
) -> list[Point]:
  """Reads a sweep and checks every point.

  Args:
    name: of the sweep, or of its file.
    output: folder that holds a workdir for each point.
    common: `group.field=value` texts for all points.
    num_devices: of each run.

  Raises:
    ConfigError: with every mistake of every point, each told once.
  """
  base, all_values = load_sweep(name)
  points, problems = [], {}
  for values in all_values:
    folder = point_name(values)
    found = [
      (override, "is swept; leave it out")
      for override in common
      if override.partition("=")[0] in values
    ]
    if folder in [point.name for point in points]:
      found.append((folder, "is there twice"))
    texts = [override_text(*item) for item in values.items()]
    overrides = (*common, *texts)
    try:
      config = config_lib.load_config(
        base, overrides, lambda c: validation.validate(c, num_devices)
      )
    except config_lib.ConfigError as error:
      found += error.problems
    else:
      workdir = os.path.join(output, folder)
      points.append(Point(values, workdir, base, overrides, config))
    problems |= dict.fromkeys(found)
  if problems:
    raise config_lib.ConfigError(f"{name} ({base})", list(problems))
  return points


def check_workdirs(points: list[Point]) -> None:
  """A workdir must not hold a run of another configuration.

  Raises:
    ConfigError: naming what differs.
  """
  problems = []
  for point in points:
    path = os.path.join(point.workdir, writers.CONFIG_FILE)
    if not storage.exists(path):
      continue
    old = validation.read_config(storage.read_bytes(path).decode(), path)
    problems += [
      (point.workdir, f"was run with another value: {line}")
      for line in config_lib.differences(old, point.config)
    ]
  if problems:
    problems.append(("--output", "choose another one, or delete those runs"))
    raise config_lib.ConfigError(os.path.dirname(points[0].workdir), problems)
