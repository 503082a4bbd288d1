"""SIGTERM: noted at once whatever the process does, and its end in time."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sapiens2_jax.runtime import exits

_PAUSE = 0.2  # Seconds between two looks at what the process does.
_STARTING = ("start", "compile")  # There is nothing yet to save.


class Doing(Protocol):
  """What a process does; see `goodput.Timeline`."""

  phase: str
  step: int


class Termination:
  """Ends a process that was sent SIGTERM, unless it ends by itself in time.

  While it starts or compiles its first step there is nothing to save: it ends
  at once. Later it has `timeout` seconds to come to its next step and save.

  A handler of Python's would wait until the main thread runs Python code, and
  would replace JAX's: faulthandler's writes into a pipe at once, and then
  calls the one before.

  Attributes:
    is_requested: whether SIGTERM came.
  """

  def __init__(
    self, timeout: float, end: Callable[[str], None], *, is_chained: bool
  ):
    """Listens from now on.

    Args:
      timeout: seconds that a run has to save and end.
      end: ends the process, with a message.
      is_chained: whether the handler that there was is called too.
    """
    self._timeout, self._end = timeout, end
    self._doing: Doing | None = None
    self._path = ""
    self.is_requested = False
    self._pipe, written = os.pipe()
    os.set_blocking(written, False)
    faulthandler.register(
      signal.SIGTERM, file=written, all_threads=False, chain=is_chained
    )
    threading.Thread(target=self._wait, daemon=True).start()

  def follow(self, doing: Doing, path: str) -> None:
    """Says where the process waits; `path` is of the file for its stacks.

    Until this was called, the process starts.
    """
    self._doing, self._path = doing, path

  def _wait(self) -> None:
    os.read(self._pipe, 1)
    self.is_requested, came = True, time.monotonic()
    while time.monotonic() - came < self._timeout:
      phase = self._doing.phase if self._doing else _STARTING[0]
      if phase in _STARTING:
        self._end(
          f"SIGTERM in phase {phase!r}, before there was anything to save; the "
          "same command continues."
        )
      time.sleep(_PAUSE)
    where = exits.write_stacks(self._path)
    self._end(
      f"step {self._doing.step + 1}: not at its end {self._timeout:g} s after "
      "SIGTERM (distributed.stop_timeout), in phase "
      f"{self._doing.phase!r}; the stacks of all threads are {where}. "
      "The same command continues at the newest checkpoint."
    )
