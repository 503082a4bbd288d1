"""How a process ends at once, whatever its threads do."""

import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

_SECONDS = 5.0  # That what is done before may take: a disk may be away.
_before: list[Callable[[], None]] = []


def before_leaving(function: Callable[[], None]) -> None:
  """Has `leave` call this, in a thread, and wait for it for some seconds."""
  _before.append(function)


def leave(code: int) -> NoReturn:
  """Ends the process without waiting for its threads, one may hang."""
  for function in _before:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_SECONDS)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
