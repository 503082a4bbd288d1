"""SIGTERM: noted at once whatever the process does, and its end in time."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sapiens2_jax.runtime import exits

_PAUSE = 0.2  # Seconds between two looks at what the process does.
_STARTING = ("start", "compile")  # Before a step there is nothing to save.
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


class Doing(Protocol):
  """What a process does; see `goodput.Timeline`."""

  phase: str
  step: int
  has_stepped: bool


class Termination:
  """Ends a process that was sent SIGTERM, unless it ends by itself in time.

  While it starts or compiles its first step there is nothing to save: it ends
  at once. Later it has `timeout` seconds to come to its next step and save.

  A handler of Python's waits until the main thread runs Python code. So the
  number of the signal comes through a pipe, into which Python's C code writes
  at once, in whatever thread the signal arrives: also in one of a library, or
  in one that has just begun, for which Python knows no state yet.

  Attributes:
    is_requested: whether SIGTERM came.
  """

  def __init__(
    self, timeout: float, end: Callable[[str], None], *, is_chained: bool
  ):
    """Listens from now on; must be called in the main thread.

    Args:
      timeout: seconds that a run has to save and end.
      end: ends the process, with a message.
      is_chained: whether the handler that there was, one in C, is called too.
    """
    self._timeout, self._end = timeout, end
    self._doing: Doing | None = None
    self._path = ""
    self.is_requested = False
    self._pipe, written = os.pipe()
    os.set_blocking(written, False)
    self._before = _c_handler(signal.SIGTERM) if is_chained else None
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    # The handler of Python writes it too: an event loop may put a pipe of its
    # own in place of ours for a while, and then the C code does not.
    note = bytes([signal.SIGTERM])
    signal.signal(signal.SIGTERM, lambda *_: os.write(written, note))
    signal.siginterrupt(signal.SIGTERM, False)  # Libraries need not know it.
    threading.Thread(target=self._wait, daemon=True).start()

  def follow(self, doing: Doing, path: str) -> None:
    """Says where the process waits; `path` is of the file for its stacks.

    Until this was called, the process starts.
    """
    self._doing, self._path = doing, path

  def _wait(self) -> None:
    while os.read(self._pipe, 1)[0] != signal.SIGTERM:
      pass  # All signals with a handler of Python's come here, Ctrl-C too.
    self.is_requested, came = True, time.monotonic()
    if self._before is not None:
      self._before(signal.SIGTERM)
    while time.monotonic() - came < self._timeout:
      doing = self._doing
      phase = doing.phase if doing else _STARTING[0]
      if phase in _STARTING and not (doing and doing.has_stepped):
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


def _c_handler(number: int) -> Callable[[int], None] | None:
  """The function that a signal calls now; None if there is none."""
  action = (ctypes.c_void_p * 64)()  # More than any system's; it comes first.
  if ctypes.CDLL(None).sigaction(int(number), None, action):
    raise OSError(f"sigaction: signal {number} cannot be looked at.")
  is_set = action[0] not in (None, signal.SIG_DFL, signal.SIG_IGN)
  return _Handler(action[0]) if is_set else None
