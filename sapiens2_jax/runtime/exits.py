"""How a process ends at once, whatever its threads do."""

import contextlib
import faulthandler
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import NoReturn

from data_pipelines.common import files

_SECONDS = 5.0  # That what is done before may take: a disk may be away.
_before: list[Callable[[], None]] = []


def before_leaving(function: Callable[[], None]) -> None:
  """Has `leave` call this, in a thread, and wait for it for some seconds."""
  _before.append(function)


def write_stacks(path: str) -> None:
  """Writes the stacks of all threads to stderr, and into a file."""
  faulthandler.dump_traceback(sys.stderr)
  with tempfile.TemporaryFile() as copy:
    faulthandler.dump_traceback(copy)
    copy.seek(0)
    text = copy.read()

  def write() -> None:
    with contextlib.suppress(OSError):
      files.write_file(path, text)

  _try(write)


def leave(code: int) -> NoReturn:
  """Ends the process without waiting for its threads, one may hang."""
  for function in _before:
    _try(function)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def _try(function: Callable[[], None]) -> None:
  thread = threading.Thread(target=function, daemon=True)
  thread.start()
  thread.join(_SECONDS)
