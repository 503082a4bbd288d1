"""Calls a function in a fresh process that may die, and ends with its parent.

The process ends by `os._exit`: the engine can crash when its interpreter is
taken down, after all is done.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator


class Died(ChildProcessError):
  """The process ended in the middle of its work."""


def stream(function: Callable, *arguments) -> Iterator:
  """Yields what a generator function yields, in another process.

  Function and arguments must be picklable; what the function prints goes to
  stderr.

  Raises:
    Died: the process was killed, or ended otherwise.
    Exception: what the function raised.
  """
  process = subprocess.Popen(
    [sys.executable, "-m", "data_pipelines.curation.child"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    with contextlib.suppress(BrokenPipeError):
      pickle.dump((sys.path, function, arguments), process.stdin)
      process.stdin.flush()
    while True:
      try:
        kind, value = pickle.load(process.stdout)
      except (EOFError, pickle.UnpicklingError):
        raise Died(_describe(process.wait())) from None
      if kind == "item":
        yield value
      elif kind == "error":
        raise value
      else:
        break
  finally:
    process.kill()
    process.wait()
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
      process.stdin.close()


def call(function: Callable, *arguments):
  """The last value that a generator function yields, None if it has none."""
  last = None
  for value in stream(function, *arguments):
    last = value
  return last


def _describe(code: int) -> str:
  if code >= 0:
    return f"its process ended with code {code}"
  try:
    return f"its process died of {signal.Signals(-code).name}"
  except ValueError:
    return f"its process died of signal {-code}"


def end_with_parent(seconds: float = 0.5) -> None:
  """Ends this process soon after the one that started it."""
  parent = os.getppid()

  def watch() -> None:
    while os.getppid() == parent:
      threading.Event().wait(seconds)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _main() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's.
  end_with_parent()
  answers = os.fdopen(os.dup(1), "wb")
  os.dup2(2, 1)

  def send(kind: str, value: object = None) -> None:
    pickle.dump((kind, value), answers)
    answers.flush()

  try:
    sys.path[:], function, arguments = pickle.load(sys.stdin.buffer)
  except EOFError:  # The parent is gone already.
    os._exit(1)
  try:
    for value in function(*arguments):
      send("item", value)
    send("end")
  except BaseException as error:
    if not isinstance(error, (OSError, ValueError)):
      traceback.print_exc()
    try:
      pickle.loads(pickle.dumps(error))
    except Exception:
      error = RuntimeError(f"{type(error).__name__}: {error}")
    send("error", error)
  sys.stderr.flush()
  os._exit(0)


if __name__ == "__main__":
  _main()
