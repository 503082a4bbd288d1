"""Runs the points of a sweep on this machine, one after another."""

import os
import signal
import subprocess
import sys
import time
from typing import TextIO

from data_pipelines.common import errors
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point
from sapiens2_jax.sweep.status import Status
from sapiens2_jax.sweep.table import Table

_INTERVAL = 1.0  # Seconds between two looks at a run.


class _Signals:
  """Passes SIGINT and SIGTERM on to the running child, as SIGTERM."""

  def __init__(self):
    self.received = False
    self.child: subprocess.Popen | None = None
    self._previous = {
      number: signal.signal(number, self._forward)
      for number in (signal.SIGINT, signal.SIGTERM)
    }

  def _forward(self, *_) -> None:
    self.received = True
    if self.child is not None:
      self.child.terminate()

  def restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)


def log_path(point: Point) -> str:
  """Where the output of the point's run is."""
  return os.path.join(point.workdir, "train.log")


def _start(point: Point) -> subprocess.Popen:
  os.makedirs(point.workdir, exist_ok=True)
  with open(log_path(point), "a") as log:
    # A session of its own: Ctrl-C must reach its data workers only through
    # it, after it has saved.
    return subprocess.Popen(
      [sys.executable, "-m", "sapiens2_jax.train", *point.train_flags()],
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )


def _end_state(point: Point, code: int) -> str:
  if code == 0:
    done = status_lib.is_done(point)
    return status_lib.DONE if done else status_lib.STOPPED
  # Before the first step there is nothing to save; before all else, no handler.
  is_stopped = code in (-signal.SIGTERM, errors.TERMINATED)
  return status_lib.STOPPED if is_stopped else status_lib.FAILED


def run_all(points: list[Point], labels: list[str], out: TextIO) -> list[str]:
  """Runs what is not done; a point that fails does not stop the others.

  Args:
    points: in the order to run them.
    labels: what the table calls them.
    out: where the table goes.

  Returns:
    The state of each point at the end. SIGINT or SIGTERM ends the sweep
    early: the running point saves, the others stay as they are.
  """
  statuses = statuses_of(points)
  states = [status.state for status in statuses]
  table = Table(labels, [point.num_steps for point in points], out)
  signals = _Signals()

  def update(i: int, state: str) -> None:
    states[i], statuses[i] = state, status_lib.read_status(points[i], state)
    table.show(statuses)

  table.show(statuses)
  try:
    for i, point in enumerate(points):
      if signals.received:
        break
      if states[i] != status_lib.DONE:
        signals.child = _start(point)
        if signals.received:  # Between the look above and the start.
          signals.child.terminate()
        code = _wait(signals.child, lambda i=i: update(i, status_lib.RUNNING))
        signals.child = None
        update(i, _end_state(point, code))
  finally:
    signals.restore()
  _tell_failures(points, states, out)
  return states


def _wait(child: subprocess.Popen, look) -> int:
  """The exit code; calls `look` every second until then."""
  while True:
    look()
    deadline = time.monotonic() + _INTERVAL
    # Short waits: a signal handler runs between two of them.
    while time.monotonic() < deadline:
      try:
        return child.wait(timeout=0.1)
      except subprocess.TimeoutExpired:
        continue


def _tell_failures(points: list[Point], states: list[str], out: TextIO) -> None:
  for point, state in zip(points, states):
    if state == status_lib.FAILED:
      path = log_path(point)
      with open(path, errors="replace") as file:
        said = file.read().strip().rpartition("\n")[2].strip()
      out.write(f"failed: {point.name}: {said}\n  log: {path}\n")


def statuses_of(points: list[Point]) -> list[Status]:
  """What the workdirs say, for points that nobody runs here."""
  return [
    status_lib.read_status(point, status_lib.stored_state(point))
    for point in points
  ]
