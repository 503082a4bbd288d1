"""Has units done by the engine until all are, whoever dies."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from data_pipelines.common import progress
from data_pipelines.curation import child
from data_pipelines.curation.engine import Engine, Job

_MAX_FRUITLESS = 3  # Deaths after which nothing was different.
_MAX_DEATHS = 6  # Of one unit, which is scored in other processes from 2 on.
_INTERVAL = 0.5  # Seconds between two looks at what is done.


def do_units(
  engine: Engine,
  job: Job,
  units: Sequence[object],
  path: Callable[[object], pathlib.Path],
  label: str,
  attempts: pathlib.Path | None = None,
) -> int:
  """Does the units whose files are not there.

  A death starts the engine again, which goes on with what is missing.

  Args:
    engine: does them.
    job: does one.
    units: all of them.
    path: the file of a unit.
    label: of the line of progress.
    attempts: where the job marks units that it begins.

  Returns:
    How many were missing.

  Raises:
    OSError: a unit cannot be done, or ends its process again and again.
  """
  paths = [path(unit) for unit in units]
  todo = [unit for unit, file in zip(units, paths) if not file.exists()]
  num_missing, fruitless, state = len(todo), 0, None
  with _show(label, paths):
    while todo:
      try:
        if problems := engine.map_units(job, todo):
          raise OSError(_list_problems(problems))
      except child.Died as error:
        before, state = state, (len(todo), _read_deaths(attempts))
        fruitless = fruitless + 1 if state == before else 0
        if fruitless >= _MAX_FRUITLESS or max(state[1].values(), default=0) >= (
          _MAX_DEATHS
        ):
          raise
        print(f"{label}: {error}; starting again", file=sys.stderr)
      todo = [unit for unit in todo if not path(unit).exists()]
  return num_missing


@contextlib.contextmanager
def _show(label: str, paths: Sequence[pathlib.Path]) -> Iterator[None]:
  """Counts files as they appear."""
  ended = threading.Event()
  with progress.Progress(label, len(paths), "shards") as shown:

    def count() -> None:
      left = list(paths)
      while True:
        is_last = ended.wait(_INTERVAL)
        left = [path for path in left if not path.exists()]
        shown.reach(len(paths) - len(left))
        if is_last:
          return

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
      yield
    finally:
      ended.set()
      thread.join()


def _read_deaths(attempts: pathlib.Path | None) -> dict[str, int]:
  if attempts is None or not attempts.is_dir():
    return {}
  return {path.name: path.stat().st_size for path in attempts.iterdir()}


def _list_problems(problems: Sequence[str]) -> str:
  more = len(problems) - 1
  return problems[0] + (f" (and {more} more)" if more else "")
