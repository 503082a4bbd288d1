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


def write_stacks(path: str) -> str:
  """Writes the stacks of all threads to stderr, and into a file or object.

  Returns:
    Where they are, for a message.
  """
  faulthandler.dump_traceback(sys.stderr)
  with tempfile.TemporaryFile() as copy:
    faulthandler.dump_traceback(copy)
    copy.seek(0)
    text = copy.read()

  written = threading.Event()

  def write() -> None:
    with contextlib.suppress(OSError, ValueError):
      files.write_file(path, text, is_synced=False)
      written.set()

  _try(write)
  return f"in {path}" if written.is_set() else "above"


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
