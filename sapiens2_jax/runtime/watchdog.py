"""Ends a process that hangs, and says where it hung."""

import faulthandler
import threading
from collections.abc import Callable

from sapiens2_jax.runtime import exits
from sapiens2_jax.runtime.goodput import Timeline


class Watchdog:
  """Calls `end` when the timeline has not moved for too long.

  One rule: whatever the process does (wait for a batch, step, save), it turns
  to the next thing within `timeout` seconds, or within `start_timeout` while
  it starts or compiles. A batch that does not come, or a process that dies,
  has a shorter limit of its own and a better message.
  """

  def __init__(
    self,
    timeline: Timeline,
    path: str,
    *,
    timeout: float,
    start_timeout: float,
    end: Callable[[str], None],
  ):
    """Starts watching; the stacks of all threads go to `path`, or a URL."""
    self._timeline, self._path, self._end = timeline, path, end
    self._timeout, self._start_timeout = timeout, start_timeout
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()

  def stop(self) -> None:
    self._stopped.set()
    self._thread.join()
    faulthandler.cancel_dump_traceback_later()

  def _watch(self) -> None:
    interval = min(self._timeout, self._start_timeout) / 20
    while not self._stopped.wait(interval):
      is_starting = self._timeline.phase in ("start", "compile")
      limit = self._start_timeout if is_starting else self._timeout
      # No thread of Python runs if the one that hangs holds the interpreter:
      # then this timer, which needs none, ends the process with code 1.
      faulthandler.dump_traceback_later(limit + interval, exit=True)
      gone = self._timeline.unchanged()
      if gone > limit:
        self._report(gone, limit)

  def _report(self, gone: float, limit: float) -> None:
    line = self._timeline
    is_start = limit == self._start_timeout
    field = "start_timeout" if is_start else "timeout"
    where = exits.write_stacks(self._path)
    self._end(
      f"step {line.step + 1}: nothing moved for {gone:.0f} s "
      f"(watchdog.{field}={limit:g}) in phase {line.phase!r}; the stacks of "
      f"all threads are {where}."
    )
