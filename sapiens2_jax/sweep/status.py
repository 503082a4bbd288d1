"""How far the run of a point is, read from its workdir."""

import dataclasses
import os
import statistics

from data_pipelines.common import storage
from sapiens2_jax.report import metrics
from sapiens2_jax.sweep.points import Point
from sapiens2_jax.training import checkpoints, verification, writers

WAITING, RUNNING, DONE = "waiting", "running", "done"
STOPPED, FAILED = "stopped", "failed"


@dataclasses.dataclass(frozen=True)
class Status:
  """One line of the table; None is unknown."""

  state: str  # waiting, running, stopped, failed or done
  step: int = 0  # steps that were logged
  loss: float | None = None  # of the last of them
  images_per_second: float | None = None  # as last logged
  eta: float | None = None  # seconds that a running point still takes


def last_checkpoint(workdir: str, num_steps: int) -> str:
  """Where a run of so many steps saves the last one."""
  return os.path.join(checkpoints.directory(workdir), str(num_steps))


def read_ends(workdir: str, key: str) -> tuple[float, float]:
  """The first and the last value that a run has of a metric.

  Raises:
    ValueError: it has none, as it was stopped before.
  """
  first, last = metrics.ends(writers.read_metrics(workdir), key)
  if first is None or last is None:
    raise ValueError(f"no {key} in {workdir}: this run was stopped")
  return first, last


def is_done(point: Point) -> bool:
  """Whether the last step of the run was saved."""
  root = storage.to_path(checkpoints.directory(point.workdir))
  return point.num_steps in verification.list_steps(root)


def stored_state(point: Point) -> str:
  """State of a point that this program does not run."""
  if is_done(point):
    return DONE
  return STOPPED if writers.read_metrics(point.workdir) else WAITING


def read_status(point: Point, state: str) -> Status:
  """Numbers of the last logged step beside `state`."""
  metrics = writers.read_metrics(point.workdir)
  if not metrics:
    return Status(state)
  step = metrics[-1]["step"] + 1
  speed = writers.read_speed(point.workdir)
  rate = eta = None
  if speed:
    rate = speed[-1]["images_per_second"]
    if state == RUNNING:  # Rows of earlier versions have none.
      eta = speed[-1].get("eta_seconds")
  # Rows of evaluations and probes have none.
  losses = [row["loss"] for row in metrics if "loss" in row]
  return Status(state, step, losses[-1] if losses else None, rate, eta)


def typical_speed(point: Point) -> float | None:
  """Median images/s; the first row after a start holds compiling."""
  rows = writers.read_speed(point.workdir)
  rates = [row["images_per_second"] for row in rows[1:] or rows]
  return statistics.median(rates) if rates else None
