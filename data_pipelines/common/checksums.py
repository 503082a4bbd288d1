"""Sizes and digests of the files of a directory: written, and compared.

Of a file on a disk SHA-256; of one in a bucket MD5, if the bucket itself keeps
that: then a directory is listed, not read.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from concurrent import futures

from data_pipelines.common import files, storage

_THREADS = 8  # Hashing and reading release the interpreter's lock.
_PIECE = 2**20  # Bytes that are hashed at once.
_LABELS = {"sha256": "SHA-256", "md5": "MD5"}


class DamagedError(OSError):
  """Files are not what their list says, and nothing can stand in for them."""


def sha256(path: str | os.PathLike) -> str:
  """SHA-256 of a file on a disk or in a bucket, in lower-case hex."""
  return _digest(path, "sha256")


def _digest(path: str | os.PathLike, algorithm: str) -> str:
  found = hashlib.new(algorithm)
  with storage.open_file(path) as file:
    while piece := file.read(_PIECE):
      found.update(piece)
  return found.hexdigest()


def measure(
  directory: str | os.PathLike, names: Iterable[str]
) -> dict[str, dict]:
  """Reads files in parallel, as far as their listing does not know them.

  Args:
    directory: on a disk or in a bucket.
    names: of the files, relative to it.

  Returns:
    name -> {"bytes": size, "sha256" or "md5": hex}, in the order of the names.

  Raises:
    OSError: one cannot be read.
  """
  known = _look(directory, names := list(names))

  def read(name: str) -> dict:
    path, info = storage.join(directory, name), known.get(name)
    if info is None:
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if info.md5 is not None:
      return {"bytes": info.num_bytes, "md5": info.md5}
    return {"bytes": info.num_bytes, "sha256": sha256(path)}

  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return dict(zip(names, pool.map(read, names)))


def _look(
  directory: str | os.PathLike, names: Iterable[str]
) -> dict[str, storage.FileInfo]:
  """What a directory says of some of its files; nothing of those it lacks."""
  if storage.is_remote(directory):
    return storage.find(directory)
  paths = {name: os.path.join(directory, name) for name in names}
  return {
    name: storage.FileInfo(os.path.getsize(path))
    for name, path in paths.items()
    if os.path.isfile(path)
  }


def find_files(directory: str | os.PathLike) -> list[str]:
  """All files below a directory, relative to it, sorted; also hidden ones."""
  return list(storage.find(directory))


def compare(directory: str | os.PathLike, listed: dict[str, dict]) -> list[str]:
  """What is wrong with the files of a list that `measure` made.

  Files that are not in the list are left alone.

  Returns:
    One sentence for each file that is missing or differs, with the file's
    path; none if all are whole.

  Raises:
    OSError: of a bucket that does not answer.
  """
  problems, whole = [], []
  known = _look(directory, listed)
  for name, entry in listed.items():
    path = storage.join(directory, name)
    if name not in known:
      problems.append(f"{path}: missing")
    elif (size := known[name].num_bytes) != entry["bytes"]:
      problems.append(f"{path}: {size} bytes, expected {entry['bytes']}")
    else:
      whole.append(name)

  def find_change(name: str) -> str | None:
    path, entry = storage.join(directory, name), listed[name]
    algorithm = next(key for key in _LABELS if key in entry)
    found = known[name].md5 if algorithm == "md5" else None
    if found is None:
      found = _digest(path, algorithm)
    if found == entry[algorithm]:
      return None
    return (
      f"{path}: {_LABELS[algorithm]} is {found[:12]}, expected "
      f"{entry[algorithm][:12]}"
    )

  try:
    with futures.ThreadPoolExecutor(_THREADS) as pool:
      changes = list(pool.map(find_change, whole))
  except OSError as error:
    if storage.is_remote(directory):
      raise
    return [*problems, f"{error.filename}: cannot be read ({error.strerror})"]
  return [*problems, *filter(None, changes)]


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
    check(listed)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path}: damaged list of checksums ({error})") from error
  return listed


def check(listed: dict[str, dict]) -> None:
  """Refuses what `measure` did not make.

  Raises:
    ValueError: with the name of a file.
    AttributeError: it is no dictionary of dictionaries.
  """
  fit = [{"bytes": int, algorithm: str} for algorithm in _LABELS]
  for name, entry in listed.items():
    kinds = {key: type(value) for key, value in entry.items()}
    if name.startswith("/") or kinds not in fit:
      raise ValueError(name)
