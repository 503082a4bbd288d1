"""Reads again what failed or hangs, and gives up with the file's name."""

from __future__ import annotations

import collections
import logging
import queue
import threading
import time
import weakref

from data_pipelines.corpus import records
from data_pipelines.sources import base


class RetryingSource:
  """A source whose reads end: with a record, or with an error that names it.

  A read that fails, or takes longer than the timeout, is tried again after a
  pause that doubles each time. Reads run in threads that are used again and
  again; one whose read hangs is left behind (nothing can end it) and does not
  keep the process alive.
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
    self._start()

  def _start(self) -> None:
    self._idle = collections.deque()
    weakref.finalize(self, _dismiss_all, self._idle)

  def __getstate__(self) -> dict:
    return {k: v for k, v in self.__dict__.items() if k != "_idle"}

  def __setstate__(self, state: dict) -> None:
    self.__dict__.update(state)
    self._start()

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
    return self._source.name(index)

  def location(self, index: int) -> str:
    return self._source.location(index)

  def _read(self, index: int) -> records.Record:
    try:
      asked, answers = self._idle.pop()
    except IndexError:
      asked, answers = queue.SimpleQueue(), queue.SimpleQueue()
      # Not a method: the thread must not keep this source alive.
      arguments = self._source, asked, answers
      threading.Thread(target=_work, args=arguments, daemon=True).start()
    asked.put(index)
    try:
      record, error = answers.get(timeout=self._timeout)
    except queue.Empty:
      asked.put(None)  # Ends the thread after the read it is at.
      raise base.ShardReadError(
        f"no answer within {self._timeout:.3g} s"
      ) from None
    self._idle.append((asked, answers))
    if error is not None:
      raise error
    return record


def _work(source, asked: queue.SimpleQueue, answers: queue.SimpleQueue) -> None:
  """Reads each record that is asked for; answers with it, or its error."""
  while (index := asked.get()) is not None:
    try:
      answer = source[index], None
    except BaseException as error:
      answer = None, error
    answers.put(answer)
    del answer  # Else the last record stays in memory.


def _dismiss_all(idle: collections.deque) -> None:
  for asked, _ in idle:
    asked.put(None)
