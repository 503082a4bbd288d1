"""Files that appear whole or not at all, on a disk or in a bucket."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from data_pipelines.common import errors, storage

_PARTIAL = ".partial"


@contextlib.contextmanager
def whole_path(
  path: str | os.PathLike, *, is_synced: bool = True
) -> Iterator[str]:
  """Gives the path of a file to write, which at the end becomes `path`.

  What was there before is replaced. On a disk the file is written beside its
  last name and waited for (fsync) before it gets its name; for a bucket it
  is written to a temporary file and uploaded whole. An exception leaves
  nothing behind. A kill leaves a hidden file, see `remove_partial`.

  Args:
    path: path or URL; the directories that it is in are made. A new directory
      may be written instead of a file, on a disk.
    is_synced: False: not waited for; after a crash of the machine it may be
      damaged.

  Yields:
    A path on this machine, where there is nothing yet.

  Raises:
    OSError: it cannot be written or uploaded.
    ValueError: a URL of an unknown scheme.
  """
  local = storage.local_path(path)
  if local is None:
    with tempfile.TemporaryDirectory() as directory:
      partial = os.path.join(directory, os.path.basename(os.fspath(path)))
      yield partial
      storage.upload(partial, path)
    return
  parent, name = os.path.split(local)
  os.makedirs(parent or ".", exist_ok=True)
  token = f"{os.getpid()}-{secrets.token_hex(4)}"
  partial = os.path.join(parent, f".{name}.{token}{_PARTIAL}")
  try:
    with errors.naming(path):
      yield partial
      if is_synced:
        sync(partial)
      os.replace(partial, local)
  except BaseException:
    _remove(partial)
    raise


@contextlib.contextmanager
def whole_file(
  path: str | os.PathLike, *, is_synced: bool = True
) -> Iterator[BinaryIO]:
  """Opens a file to write, which at the end becomes `path`; see above."""
  with (
    whole_path(path, is_synced=is_synced) as partial,
    open(partial, "wb") as file,
  ):
    yield file


def write_file(
  path: str | os.PathLike, data: bytes, *, is_synced: bool = True
) -> None:
  """Writes a file, and the directories that it is in; see above."""
  with whole_file(path, is_synced=is_synced) as file:
    file.write(data)


def write_json(path: str | os.PathLike, value: object) -> None:
  """Writes readable JSON of ASCII characters, since paths may be no UTF-8."""
  write_file(path, json.dumps(value, indent=2).encode() + b"\n")


def read_json(path: str | os.PathLike) -> object:
  """Reads what `write_json` wrote.

  Raises:
    ValueError: it is no JSON; the message names the file.
    OSError: it cannot be read.
  """
  try:
    return json.loads(storage.read_bytes(path))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: damaged: no JSON: {error}") from error


def remove_partial(directory: str | os.PathLike) -> None:
  """Removes what killed processes left in a directory of whole files.

  In a bucket nothing is ever left.
  """
  local = storage.local_path(directory)
  if local is not None:
    for path in pathlib.Path(local).glob(f".*{_PARTIAL}"):
      _remove(path)


def set_aside(path: str | os.PathLike, reason: str) -> None:
  """Moves a damaged file, without which work goes on, to `NAME.damaged`.

  Replaces what is there, and says so in one line. Several processes may do it.
  """
  target = f"{os.fspath(path)}.damaged"
  with contextlib.suppress(FileNotFoundError):
    if storage.is_remote(path):
      storage.copy(path, target)
      storage.remove(path)
    else:
      if os.path.isdir(path):
        shutil.rmtree(target, ignore_errors=True)
      os.replace(path, target)
    _say_aside(path, reason, target)


def copy_aside(path: str | os.PathLike, reason: str) -> None:
  """Like `set_aside` for a file that is repaired in its place."""
  target = f"{os.fspath(path)}.damaged"
  storage.copy(path, target)
  _say_aside(path, reason, target)


def _say_aside(path: str | os.PathLike, reason: str, target: str) -> None:
  logging.warning("%s: damaged (%s); kept as %s", path, reason, target)


def sync(path: str | os.PathLike) -> None:
  """Waits until what was written to a file is on the disk."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)


def _remove(path: str | os.PathLike) -> None:
  if os.path.isdir(path):
    shutil.rmtree(path, ignore_errors=True)
  else:
    with contextlib.suppress(OSError):
      os.unlink(path)
