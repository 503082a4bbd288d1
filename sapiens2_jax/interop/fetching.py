"""Weights in a bucket: found there, read from a copy on a disk.

The copy lies in the directory for temporary files (TMPDIR) until the process
ends; each process makes its own.
"""

import contextlib
import functools
import os
import pathlib
import tempfile
from collections.abc import Iterator

from data_pipelines.common import directories, storage
from sapiens2_jax.interop import tensors


@contextlib.contextmanager
def on_a_disk(path: str, fingerprint: str, is_whole: bool) -> Iterator[str]:
  """Where weights can be read: a path on a disk itself, or that of a copy.

  Errors of the block name what is in the bucket.

  Args:
    path: of a file or a directory, on a disk or in a bucket.
    fingerprint: of what is there; what is known is not copied again.
    is_whole: all files are of use; else safetensors and what describes them.

  Raises:
    ValueError: there are no safetensors.
    OSError: they cannot be read, or the disk has no room for them.
  """
  if not storage.is_remote(path):
    yield path
    return
  url = storage.absolute(path)
  is_file = not storage.is_directory(url)
  root = url.rpartition("/")[0] if is_file else url
  copy = _new_copy(root, fingerprint)
  try:
    place = pathlib.Path(copy.name)
    if is_whole:
      _fetch(root, tuple(storage.find(root)), copy.name)
    else:
      place = _fetch_tensors(root, url, place)
    yield os.fspath(place)
  except ValueError as error:
    if copy.name not in str(error):
      raise
    raise ValueError(str(error).replace(copy.name, root)) from error


@functools.cache
def _new_copy(root: str, fingerprint: str) -> tempfile.TemporaryDirectory:
  return tempfile.TemporaryDirectory(prefix="weights-")


@functools.cache
def _fetch(root: str, names: tuple[str, ...], copy: str) -> None:
  directories.download(root, names, copy)


def _fetch_tensors(root: str, url: str, copy: pathlib.Path) -> pathlib.Path:
  """Copies what `tensors.find_file` finds, and JSON; returns its path."""
  names = storage.list_sizes(root)
  notes = tuple(name for name in names if name.endswith(".json"))
  _fetch(root, notes, os.fspath(copy))
  for name in names:
    (copy / name).touch()  # What is to be read depends on what there is.
  given = copy / url.removeprefix(root).strip("/")
  file = tensors.find_file(given)
  shards = set(tensors.list_shards(file) or [file.name]) & {*names} - {*notes}
  _fetch(root, tuple(sorted(shards)), os.fspath(copy))
  return given
