"""Reads again what failed or hangs, and gives up with the file's name."""

from __future__ import annotations

import logging
import queue
import threading
import time

from data_pipelines import records
from data_pipelines.sources import base


class RetryingSource:
  """A source whose reads end: with a record, or with an error that names it.

  A read that fails, or takes longer than the timeout, is tried again after a
  pause that doubles each time. The thread of a read that hangs is left behind
  (nothing can end it); it does not keep the process alive.
  """

  def __init__(
    self,
    source: base.ImageSource,
    *,
    attempts: int,
    timeout: float,
    backoff: float = 1.0,
  ):
    """Wraps a source.

    Args:
      source: to read from.
      attempts: reads of one record before giving up, at least 1.
      timeout: seconds for one read.
      backoff: seconds before the second read of a record.

    Raises:
      ValueError: a number out of its range.
    """
    if attempts < 1:
      raise ValueError(f"attempts={attempts} must be at least 1.")
    if timeout <= 0:
      raise ValueError(f"timeout={timeout} must be above 0.")
    if backoff < 0:
      raise ValueError(f"backoff={backoff} must be at least 0.")
    self._source = source
    self._attempts = attempts
    self._timeout = timeout
    self._backoff = backoff

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> records.Record:
    where = self._source.location(index)
    pause = self._backoff
    for attempt in range(1, self._attempts + 1):
      try:
        return self._read(index)
      except (base.ShardReadError, OSError) as error:
        problem = error
      message = str(problem)
      if where not in message:
        message = f"{where}: record {index}: {message}"
      if attempt < self._attempts:
        logging.warning(
          "%s; attempt %d of %d, again in %.3g s",
          *(message, attempt, self._attempts, pause),
        )
        time.sleep(pause)
        pause *= 2
    raise base.ShardReadError(
      f"{message} (given up after {self._attempts} attempts)"
    ) from problem

  def name(self, index: int) -> str:
    """As the wrapped source."""
    return self._source.name(index)

  def location(self, index: int) -> str:
    """As the wrapped source."""
    return self._source.location(index)

  def _read(self, index: int) -> records.Record:
    results = queue.SimpleQueue()

    def read() -> None:
      try:
        results.put((self._source[index], None))
      except BaseException as error:
        results.put((None, error))

    threading.Thread(target=read, daemon=True).start()
    try:
      record, error = results.get(timeout=self._timeout)
    except queue.Empty:
      raise base.ShardReadError(
        f"no answer within {self._timeout:.3g} s"
      ) from None
    if error is not None:
      raise error
    return record
