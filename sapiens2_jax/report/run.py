"""What is known of a run without running anything."""

import dataclasses
import datetime
import os

from ml_collections import ConfigDict

from data_pipelines.common import storage
from data_pipelines.common.files import read_json
from sapiens2_jax.training import checkpoints, writers

EXPORT_CHECK = os.path.join("report", "export_check.json")


@dataclasses.dataclass(frozen=True)
class Run:
  """A run as its directory shows it."""

  workdir: str
  step: int  # of the newest checkpoint
  saved: str  # when that was, "" if not known
  config: ConfigDict  # resolved, of the checkpoint
  metrics: list[dict]  # rows of the file, steps before `step` only
  speed: list[dict]  # the same
  num_learned: int  # parameters that the optimizer changes
  export_check: object  # what the export check wrote, or None
  is_exported: bool  # whether `workdir/export` exists

  @property
  def place(self) -> str:
    """The workdir as commands are told it."""
    return storage.normal(self.workdir)

  @property
  def output(self) -> str:
    """Where to write what belongs to the run and must be on a disk."""
    is_remote = storage.is_remote(self.workdir)
    return os.path.basename(self.place) if is_remote else self.place

  @property
  def images_seen(self) -> int:
    return self.step * self.config.data.global_batch_size


def read_run(workdir: str, read_config: checkpoints.ReadConfig) -> Run:
  """Reads the newest checkpoint's facts, the metrics and the export check.

  Raises:
    ValueError: if there is no such directory or no checkpoint in it.
  """
  if not storage.is_directory(workdir):
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
    num_learned=checkpoints.count_learned(
      workdir, config.optim.get("frozen_stages", 0)
    ),
    export_check=read_export_check(os.path.join(workdir, EXPORT_CHECK)),
    is_exported=storage.is_directory(os.path.join(workdir, "export")),
  )


def saved_time(path: str | os.PathLike) -> str:
  """When a checkpoint was complete, UTC, to the minute; "" if not known."""
  try:
    seconds = read_json(path)["commit_timestamp_nsecs"] / 1e9
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return when.strftime("%Y-%m-%d %H:%M UTC")
  except (OSError, ValueError, KeyError, TypeError):
    return ""


def read_export_check(path: str) -> object:
  """The JSON value of a file; None without it, a text if it is broken."""
  try:
    return read_json(path)
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    return {"unreadable": str(error)}


def training_seconds(speed: list[dict]) -> float | None:
  """Time spent in the logged steps; None if nothing was logged."""
  steps = [-1, *(row["step"] for row in speed)]
  spent = [
    (row["step"] - before) * row["step_seconds"]
    for before, row in zip(steps, speed)
  ]
  return sum(spent) if spent else None
