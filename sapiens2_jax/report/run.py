"""What is known of a run without running anything."""

import dataclasses
import datetime
import json
import os

from ml_collections import ConfigDict

from sapiens2_jax.training import checkpoints, writers

EXPORT_CHECK = os.path.join("report", "export_check.json")


@dataclasses.dataclass(frozen=True)
class Run:
  """A run as its directory shows it.

  Attributes:
    workdir: of the run.
    step: of the newest checkpoint.
    saved: when that was, "" if not known.
    config: resolved, of the checkpoint.
    metrics, speed: rows of the two files, steps before `step` only.
    num_learned: parameters that the optimizer changes.
    export_check: what the export check wrote, or None.
    is_exported: whether `workdir/export` exists.
  """

  workdir: str
  step: int
  saved: str
  config: ConfigDict
  metrics: list[dict]
  speed: list[dict]
  num_learned: int
  export_check: object
  is_exported: bool

  @property
  def images_seen(self) -> int:
    return self.step * self.config.data.global_batch_size


def read_run(workdir: str, read_config: checkpoints.ReadConfig) -> Run:
  """Reads the newest checkpoint's facts, the metrics and the export check.

  Args:
    workdir: of the run.
    read_config: reads the checkpoint's config.

  Raises:
    ValueError: if there is no such directory or no checkpoint in it.
  """
  if not os.path.isdir(workdir):
    raise ValueError(f"{workdir}: no such directory; give a training workdir.")
  step, config = checkpoints.load_run(workdir, read_config)
  _, path = checkpoints.latest(workdir)

  def before(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["step"] < step]

  return Run(
    workdir=workdir,
    step=step,
    saved=saved_time(path / "_CHECKPOINT_METADATA"),
    config=config,
    metrics=before(writers.read_metrics(workdir)),
    speed=before(writers.read_speed(workdir)),
    num_learned=checkpoints.count_learned(workdir),
    export_check=read_export_check(os.path.join(workdir, EXPORT_CHECK)),
    is_exported=os.path.isdir(os.path.join(workdir, "export")),
  )


def saved_time(path: str | os.PathLike) -> str:
  """When a checkpoint was complete, UTC, to the minute; "" if not known."""
  try:
    with open(path) as file:
      nanoseconds = json.load(file)["commit_timestamp_nsecs"]
    return format_time(nanoseconds / 1e9)
  except (OSError, ValueError, KeyError, TypeError):
    return ""


def format_time(seconds: float) -> str:
  """Seconds since 1970 as `2026-01-31 12:00 UTC`."""
  when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  return when.strftime("%Y-%m-%d %H:%M UTC")


def read_export_check(path: str) -> object:
  """The JSON value of a file; None without it, a text if it is broken."""
  try:
    with open(path) as file:
      return json.load(file)
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    return {"unreadable": f"{path}: {error}"}


def training_seconds(speed: list[dict]) -> float | None:
  """Time spent in the logged steps; None if nothing was logged."""
  if not speed:
    return None
  previous, total = -1, 0.0
  for row in speed:
    total += (row["step"] - previous) * row["step_seconds"]
    previous = row["step"]
  return total
