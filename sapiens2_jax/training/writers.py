"""Where metrics go: two JSON-lines files, TensorBoard, a tracker if asked."""

import logging
import os

import numpy as np

from data_pipelines.common import errors, jsonl
from sapiens2_jax.training.tracking import Tracker

METRICS_FILE = "metrics.jsonl"
SPEED_FILE = "speed.jsonl"


def read_metrics(workdir: str) -> list[dict]:
  """The rows of metrics.jsonl, in order of steps; damaged lines are none."""
  return jsonl.read_steps(os.path.join(workdir, METRICS_FILE))[0]


def read_speed(workdir: str) -> list[dict]:
  """The rows of speed.jsonl, in order of steps; damaged lines are none."""
  return jsonl.read_steps(os.path.join(workdir, SPEED_FILE))[0]


class Writers:
  """Writes rows of scalars, without those after the step of a resume.

  `metrics.jsonl` holds what the model computed and is a pure function of the
  run; `speed.jsonl` holds what the clock measured.
  """

  def __init__(
    self, workdir: str, start_step: int, tracker: Tracker | None = None
  ):
    self._tracker = tracker
    self._files = {}
    for name in (METRICS_FILE, SPEED_FILE):
      path = os.path.join(workdir, name)
      jsonl.drop_rows_from(path, start_step)
      self._files[name] = open(path, "a", buffering=1)  # noqa: SIM115
    self._board = None
    try:
      # It imports torch where it finds it: 3 s that other processes need not.
      from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
      logging.warning("no tensorboard/: the extra tensorboard is not installed")
      return
    try:
      board = os.path.join(workdir, "tensorboard")
      self._board = SummaryWriter(board, purge_step=start_step)
    except OSError as error:
      logging.warning("no tensorboard/: %s", error)

  def write_metrics(self, step: int, row: dict) -> None:
    """Appends one row; values are finite floats or None."""
    self._write(METRICS_FILE, "train", step, row)

  def write_speed(self, step: int, row: dict) -> None:
    """Appends one row; values are finite floats or None."""
    self._write(SPEED_FILE, "speed", step, row)

  def sync(self) -> None:
    """Waits until all rows are on the disk.

    Raises:
      OSError: a file cannot be written; names it.
    """
    for file in self._files.values():
      with errors.naming(file.name):
        os.fsync(file.fileno())

  def _write(self, name: str, group: str, step: int, row: dict) -> None:
    with errors.naming(self._files[name].name):
      self._files[name].write(jsonl.to_line({"step": step, **row}))
    if self._tracker:
      self._tracker.write(group, step, row)
    for key, value in row.items() if self._board else ():
      if value is not None:
        self._board.add_scalar(f"{group}/{key}", value, step)

  def write_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Shows (h, w, 3) uint8 in TensorBoard and the tracker, if there."""
    if self._tracker:
      self._tracker.write_picture(step, name, picture)
    if self._board:
      self._board.add_image(name, picture, step, dataformats="HWC")

  def close(self) -> None:
    for file in self._files.values():
      file.close()
    if self._board:
      self._board.close()
