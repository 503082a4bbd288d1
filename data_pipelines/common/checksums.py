"""Sizes and SHA-256 of the files of a directory: written, and compared."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterable
from concurrent import futures

from data_pipelines.common import files

_THREADS = 8  # Hashing and reading release the interpreter's lock.


class DamagedError(OSError):
  """Files are not what their list says, and nothing can stand in for them."""


def sha256(path: str | os.PathLike) -> str:
  """SHA-256 of a file on a disk, in lower-case hex."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def measure(
  directory: str | os.PathLike, names: Iterable[str]
) -> dict[str, dict]:
  """Reads files in parallel.

  Args:
    directory: on a disk.
    names: of the files, relative to it.

  Returns:
    name -> {"bytes": size, "sha256": hex}, in the order of the names.

  Raises:
    OSError: one cannot be read.
  """
  root = pathlib.Path(directory)

  def read(name: str) -> dict:
    path = root / name
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}

  names = list(names)
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return dict(zip(names, pool.map(read, names)))


def find_files(directory: str | os.PathLike) -> list[str]:
  """All files below a directory, relative to it, sorted; also hidden ones."""
  root = pathlib.Path(directory)
  return sorted(
    path.relative_to(root).as_posix()
    for path in root.rglob("*")
    if path.is_file()
  )


def compare(directory: str | os.PathLike, listed: dict[str, dict]) -> list[str]:
  """What is wrong with the files of a list that `measure` made.

  Files that are not in the list are left alone.

  Returns:
    One sentence for each file that is missing or differs, with the file's
    path; none if all are whole.
  """
  root = pathlib.Path(directory)
  problems, whole = [], []
  for name, entry in listed.items():
    path = root / name
    if not path.is_file():
      problems.append(f"{path}: missing")
    elif (size := path.stat().st_size) != entry["bytes"]:
      problems.append(f"{path}: {size} bytes, expected {entry['bytes']}")
    else:
      whole.append(name)
  try:
    found = measure(root, whole)
  except OSError as error:
    return [*problems, f"{error.filename}: cannot be read ({error.strerror})"]
  for name, entry in found.items():
    if entry["sha256"] != listed[name]["sha256"]:
      problems.append(
        f"{root / name}: SHA-256 is {entry['sha256'][:12]}, expected "
        f"{listed[name]['sha256'][:12]}"
      )
  return problems


def write(path: str | os.PathLike, listed: dict[str, dict]) -> None:
  """Writes a list that `measure` made, as JSON."""
  files.write_json(path, {"version": 1, "files": listed})


def read(path: str | os.PathLike) -> dict[str, dict]:
  """Reads what `write` wrote.

  Raises:
    ValueError: it is damaged; names the file.
    OSError: it cannot be read.
  """
  try:
    listed = files.read_json(path)["files"]
    for name, entry in listed.items():
      if {*entry} != {"bytes", "sha256"} or name.startswith("/"):
        raise ValueError(name)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path}: damaged list of checksums ({error})") from error
  return listed
