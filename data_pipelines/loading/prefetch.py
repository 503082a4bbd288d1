"""Makes batches ready ahead of the step, and notices when none comes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_CLOSE_SECONDS = 10.0


class LoaderStalled(RuntimeError):
  """No batch came in time."""


class Prefetcher:
  """Reads an iterator in a thread of its own.

  Errors of the iterator are raised where its item was expected. A thread that
  hangs does not keep the process alive.
  """

  def __init__(
    self,
    iterator: Iterator,
    prepare: Callable[[Any], Any],
    *,
    depth: int,
    timeout: float,
  ):
    """Starts reading.

    Args:
      iterator: to read; has a method `close`.
      prepare: applied to each item, in the thread.
      depth: items to hold ready, at least 1.
      timeout: seconds to wait for an item.
    """
    self._iterator = iterator
    self._prepare = prepare
    self._timeout = timeout
    self._ready = queue.Queue(depth)
    self._waits_since = None
    self._is_closed = threading.Event()
    self._thread = threading.Thread(target=self._read, daemon=True)
    self._thread.start()

  def __iter__(self) -> Prefetcher:
    return self

  def __next__(self) -> Any:
    """The next item.

    Raises:
      LoaderStalled: none came within the timeout.
      StopIteration: that was all.
    """
    while (item := self.poll(self._timeout)) is None:
      pass
    return item

  def poll(self, seconds: float) -> Any | None:
    """The next item, or None if it does not come within some seconds.

    Raises:
      LoaderStalled, StopIteration: as `__next__`.
    """
    if self._waits_since is None:
      self._waits_since = time.monotonic()
    try:
      item, error = self._ready.get(timeout=seconds)
    except queue.Empty:
      if time.monotonic() - self._waits_since < self._timeout:
        return None
      raise LoaderStalled(
        f"no batch within {self._timeout:.3g} s (data.batch_timeout)"
      ) from None
    self._waits_since = None
    if error is not None:
      self._ready.put((None, error))  # It stays at its end.
      raise error
    return item

  def close(self) -> bool:
    """Stops reading and closes the iterator; False if that hangs."""
    self._is_closed.set()
    while not self._ready.empty():  # Wakes a thread that waits for room.
      self._ready.get_nowait()
    self._thread.join(_CLOSE_SECONDS)
    if self._thread.is_alive():
      return False
    self._iterator.close()
    return True

  def _read(self) -> None:
    while not self._is_closed.is_set():
      try:
        self._ready.put((self._prepare(next(self._iterator)), None))
      except BaseException as error:
        self._ready.put((None, error))
        return
