"""The directory of an unfinished build, which a later run continues.

Every step's result is a file that appears whole or not at all, also if the
power fails; a step whose file is there is not done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar

from data_pipelines.common import progress

Job = TypeVar("Job")

CORPUS = "corpus"  # What the output directory is going to be.
_ROOMS = (CORPUS, "list", "scan", "keep", "shards")
_UNFINISHED = "unfinished"


class InputError(ValueError):
  """What was given cannot be built from; nothing is left behind."""


def place(output: str | os.PathLike) -> pathlib.Path:
  """Where an output directory is built: hidden, beside it."""
  path = pathlib.Path(os.path.abspath(output))
  return path.parent / f".{path.name}.building"


def check_free(output: pathlib.Path) -> None:
  """Raises ValueError if there is more than an empty directory."""
  if output.exists() and not (output.is_dir() and not any(output.iterdir())):
    raise ValueError(f"{output}: exists and is not empty; nothing was written.")


@contextlib.contextmanager
def open_building(
  output: str | os.PathLike, arguments: dict
) -> Iterator[pathlib.Path]:
  """Makes or continues a build; at the end the output takes its place.

  Args:
    output: the final directory; not there, or empty.
    arguments: what is asked for, JSON; must be equal to continue.

  Yields:
    The directory to work in. After an exception other than `InputError` it
    stays as it is.

  Raises:
    ValueError: there is something at `output`, another process builds it, or
      an unfinished build was started with other arguments.
  """
  output = pathlib.Path(os.path.abspath(output))
  check_free(output)
  root = place(output)
  root.mkdir(parents=True, exist_ok=True)
  with _lock(root):
    _check_arguments(root, arguments)
    shutil.rmtree(root / _UNFINISHED, ignore_errors=True)
    for room in (_UNFINISHED, *_ROOMS):
      (root / room).mkdir(exist_ok=True)
    try:
      yield root
    except InputError:
      shutil.rmtree(root)
      raise
    os.replace(root / CORPUS, output)
    shutil.rmtree(root)


def find_missing(
  jobs: Iterable[Job],
  shown: progress.Progress,
  *,
  path: Callable[[Job], pathlib.Path],
  size: Callable[[Job], int],
) -> Iterator[Job]:
  """Leaves out the jobs that are done, and counts those as progress.

  Args:
    jobs: all there are.
    shown: advanced by the size of each that is left out.
    path: the file that is there once a job is done.
    size: of a job, in what `shown` counts.

  Yields:
    The jobs to do.
  """
  for job in jobs:
    if path(job).exists():
      shown.advance(size(job))
    else:
      yield job


def unfinished(root: pathlib.Path, suffix: str) -> list[pathlib.Path]:
  """The files of that suffix that are not whole, sorted."""
  return sorted((root / _UNFINISHED).glob(f"*{suffix}"))


@contextlib.contextmanager
def whole_path(root: pathlib.Path, path: pathlib.Path) -> Iterator[str]:
  """Gives the name of a file to write, which at the end becomes `path`."""
  partial = root / _UNFINISHED / f"{os.getpid()}-{path.name}"
  yield str(partial)
  sync(partial)
  os.replace(partial, path)


def sync(path: str | os.PathLike) -> None:
  """Waits until what was written to a file is on the disk."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)


@contextlib.contextmanager
def whole_file(root: pathlib.Path, path: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens a file to write, which at the end becomes `path`."""
  with whole_path(root, path) as partial, open(partial, "wb") as file:
    yield file


def write_json(root: pathlib.Path, path: pathlib.Path, value: object) -> None:
  """Writes readable JSON, whole or not at all."""
  text = json.dumps(value, indent=2)  # ASCII: paths may be no UTF-8.
  with whole_file(root, path) as file:
    file.write(text.encode() + b"\n")


def read_json(path: pathlib.Path) -> object:
  """Reads what `write_json` wrote."""
  return json.loads(path.read_bytes())


def _check_arguments(root: pathlib.Path, arguments: dict) -> None:
  path = root / "arguments.json"
  if not path.exists():
    (root / _UNFINISHED).mkdir(exist_ok=True)
    write_json(root, path, arguments)
    return
  found = read_json(path)
  for name, value in arguments.items():
    if found.get(name) != value:
      raise ValueError(
        f"{root}: an unfinished build with {name}={found.get(name)}, now it "
        f"is {value}; give what was given then, or remove that directory."
      )


@contextlib.contextmanager
def _lock(root: pathlib.Path) -> Iterator[None]:
  """Keeps two processes out of one directory; a kill unlocks it."""
  with open(root / "lock", "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f"{root}: another process is building this.") from None
    yield
