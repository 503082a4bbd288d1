"""Where metrics go: two JSON-lines files, TensorBoard, a tracker if asked."""

import logging
import os
import tempfile

import numpy as np

from data_pipelines.common import jsonl, storage
from sapiens2_jax.training.tracking import Tracker

CONFIG_FILE = "config.json"  # train.py writes it.
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
    self._rows = {}
    for name in (METRICS_FILE, SPEED_FILE):
      path = os.path.join(workdir, name)
      # Before the first step there may be a row, of step -1.
      jsonl.drop_rows_from(path, start_step or -1)
      self._rows[name] = jsonl.Appender(path)
    self._board = _Board(os.path.join(workdir, "tensorboard"), start_step)

  def write_metrics(self, step: int, row: dict) -> None:
    """Appends one row; values are finite floats or None."""
    self._write(METRICS_FILE, "train", step, row)

  def write_speed(self, step: int, row: dict) -> None:
    """Appends one row; values are finite floats or None."""
    self._write(SPEED_FILE, "speed", step, row)

  def show(self) -> None:
    """Lets others see all rows; those on a disk they see already.

    Raises:
      OSError: a file cannot be written; names it.
    """
    for rows in self._rows.values():
      rows.show()

  def sync(self) -> None:
    """Waits until all rows are on the disk, or in the bucket.

    Raises:
      OSError: a file cannot be written; names it.
    """
    for rows in self._rows.values():
      rows.sync()
    self._board.upload()

  def _write(self, name: str, group: str, step: int, row: dict) -> None:
    self._rows[name].write({"step": step, **row})
    if self._tracker:
      self._tracker.write(group, step, row)
    for key, value in row.items():
      if value is not None:
        self._board.call("add_scalar", f"{group}/{key}", value, step)

  def write_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Shows (h, w, 3) uint8 in TensorBoard and the tracker, if there."""
    if self._tracker:
      self._tracker.write_picture(step, name, picture)
    self._board.call("add_image", name, picture, step, dataformats="HWC")

  def close(self) -> None:
    for rows in self._rows.values():
      rows.close()
    self._board.close()


class _Board:
  """TensorBoard's files; one for each upload if they go to a bucket.

  tensorboardX itself would write one there anew, from its start, each time.
  """

  def __init__(self, directory: str, start_step: int):
    self._target, self._writer, self._is_new = directory, None, False
    self._local, self._start, self._num_files = None, start_step, 0
    try:
      # It imports torch where it finds it: 3 s that other processes need not.
      from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
      logging.warning("no tensorboard/: the extra tensorboard is not installed")
      return
    if storage.is_remote(directory):
      self._local = tempfile.TemporaryDirectory()
      directory = self._local.name
    self._open = lambda **options: SummaryWriter(directory, **options)
    try:
      self._writer = self._open(purge_step=start_step, **self._named())
    except OSError as error:
      logging.warning("no tensorboard/: %s", error)

  def _named(self) -> dict[str, str]:
    """Names tell only the second, which is too little for several files."""
    return {"filename_suffix": f".{self._start}-{self._num_files}"}

  def call(self, method: str, *given, **options) -> None:
    """Calls a method of the writer, if there is one."""
    if self._writer:
      getattr(self._writer, method)(*given, **options)
      self._is_new = True

  def upload(self) -> None:
    """Brings what was written to the bucket, if the files go to one.

    Raises:
      OSError: it cannot be written; names the file.
    """
    if not self._local or not self._writer or not self._is_new:
      return
    self._writer.close()
    for name in os.listdir(self._local.name):
      path = os.path.join(self._local.name, name)
      storage.upload(path, os.path.join(self._target, name))
      os.unlink(path)
    self._is_new = False
    self._num_files += 1
    self._writer = self._open(**self._named())

  def close(self) -> None:
    if self._writer:
      self._writer.close()
    if self._local:
      self._local.cleanup()
