"""Runs the points of a sweep on this machine, one after another."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TextIO

from data_pipelines.common import errors, files, storage
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point
from sapiens2_jax.sweep.status import Status
from sapiens2_jax.sweep.table import Table

# Seconds between two looks at a run, on a disk and in a bucket.
_INTERVAL, _REMOTE_INTERVAL = 1.0, 10.0


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
  """Where the output of the point's run is, when that has ended."""
  return storage.join(point.workdir, "train.log")


class _Run:
  """The run of a point; its output gets to a bucket when it has ended."""

  def __init__(self, point: Point, folder: str, out: TextIO):
    """Starts it; a log that goes to a bucket is in `folder` until then."""
    self._log = self._target = log_path(point)
    if storage.is_remote(self._target):
      self._log = os.path.join(folder, f"{point.name}.log")
      out.write(f"log        {self._log}\n")
      before = b""
      if storage.exists(self._target):
        before = storage.read_bytes(self._target)
      files.write_file(self._log, before)
    os.makedirs(os.path.dirname(self._log), exist_ok=True)
    with open(self._log, "a") as log:
      # A session of its own: Ctrl-C must reach its data workers only through
      # it, after it has saved.
      self.child = subprocess.Popen(
        [sys.executable, "-m", "sapiens2_jax.train", *point.train_flags()],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )

  def wait(self, look: Callable[[], None]) -> int:
    """The exit code; calls `look` every few seconds until then."""
    is_remote = self._log != self._target
    code = _wait(self.child, look, _REMOTE_INTERVAL if is_remote else _INTERVAL)
    if is_remote:
      storage.upload(self._log, self._target)
      os.unlink(self._log)
    return code


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
  statuses, logs = statuses_of(points), tempfile.mkdtemp(prefix="sweep-")
  states = [status.state for status in statuses]
  table = Table(labels, [point.num_steps for point in points], out)
  signals = _Signals()

  def update(i: int, state: str) -> None:
    try:
      found = status_lib.read_status(points[i], state)
    except OSError:  # A bucket that is away for a while stops no run.
      found = dataclasses.replace(statuses[i], state=state)
    states[i], statuses[i] = state, found
    table.show(statuses)

  table.show(statuses)
  try:
    for i, point in enumerate(points):
      if signals.received:
        break
      if states[i] != status_lib.DONE:
        run = _Run(point, logs, out)
        signals.child = run.child
        if signals.received:  # Between the look above and the start.
          signals.child.terminate()
        code = run.wait(lambda i=i: update(i, status_lib.RUNNING))
        signals.child = None
        update(i, _end_state(point, code))
  finally:
    signals.restore()
    with contextlib.suppress(OSError):  # Of a bucket they stay.
      os.rmdir(logs)
  _tell_failures(points, states, out)
  return states


def _wait(child: subprocess.Popen, look, interval: float) -> int:
  while True:
    look()
    deadline = time.monotonic() + interval
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
      text = storage.read_bytes(path).decode(errors="replace")
      said = text.strip().rpartition("\n")[2].strip()
      out.write(f"failed: {point.name}: {said}\n  log: {path}\n")


def statuses_of(points: list[Point]) -> list[Status]:
  """What the workdirs say, for points that nobody runs here."""
  return [
    status_lib.read_status(point, status_lib.stored_state(point))
    for point in points
  ]
