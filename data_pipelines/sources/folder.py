"""Image files below a directory, on a disk or in a bucket."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

from data_pipelines.common import kinds, storage
from data_pipelines.corpus import records
from data_pipelines.sources import base


class FolderSource:
  """The images below a directory, sorted by relative path.

  Only the listing is read up front, and the first bytes of files whose names
  have no ending. Hidden files and directories are left out, symbolic links to
  directories are not followed. What is no image is counted, and said on
  stderr. Memory grows by about 100 bytes a file: pack large folders with
  `build_corpus`.

  Raises:
    ValueError: no such directory, or it cannot be listed.
  """

  def __init__(self, directory: str | os.PathLike):
    self._directory = os.fspath(directory)
    left_out = kinds.LeftOut()
    try:
      self._paths = list(list_images(directory, left_out))
    except OSError as error:
      raise ValueError(f"{directory}: cannot be listed: {error}") from error
    left_out.report(show_path(self._directory))

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> records.Record:
    image = base.read_file(self.location(index))
    return base.make_image_record(image, self.name(index))

  def name(self, index: int) -> str:
    """The relative path; bytes that are no UTF-8 appear as escapes."""
    base.check_index(index, len(self))
    return show_path(self._paths[index])

  def location(self, index: int) -> str:
    base.check_index(index, len(self))
    return storage.join(self._directory, self._paths[index])

  def identity(self) -> str:
    """Of the names of the files; what is in them is not known."""
    return base.hash_texts(self._paths)


def list_images(
  directory: str | os.PathLike, left_out: kinds.LeftOut
) -> Iterator[str]:
  """The paths of all images below a directory, relative to it, sorted.

  Args:
    directory: or URL.
    left_out: counts the other files.

  Raises:
    OSError: it cannot be listed.
  """
  for path in storage.list_files(directory):
    whole = storage.join(directory, path)
    read_head = functools.partial(storage.read_regular, whole, 0, kinds.HEAD)
    kind = kinds.find_other(path, read_head)
    if kind is None:
      yield path
    elif kind:
      left_out.add(kind, path)
    else:
      left_out.num_metadata += 1


def show_path(path: str) -> str:
  """A path as text; bytes that are no UTF-8 become escapes."""
  return os.fsencode(path).decode("utf-8", "backslashreplace")
