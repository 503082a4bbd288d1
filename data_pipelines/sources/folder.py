"""Image files below a directory, on a disk or in a bucket."""

from __future__ import annotations

import os

from data_pipelines.common import storage, tars
from data_pipelines.corpus import records
from data_pipelines.sources import base


class FolderSource:
  """The images below a directory, sorted by relative path.

  Only the listing is read up front. Hidden files and directories are left
  out, symbolic links to directories are not followed. Memory grows by about
  100 bytes a file: pack large folders with `build_corpus`.

  Raises:
    ValueError: no such directory, or it cannot be listed.
  """

  def __init__(self, directory: str | os.PathLike):
    self._directory = os.fspath(directory)
    try:
      listed = storage.list_files(directory)
      self._paths = [path for path in listed if tars.is_image_name(path)]
    except OSError as error:
      raise ValueError(f"{directory}: cannot be listed: {error}") from error

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


def show_path(path: str) -> str:
  """A path as text; bytes that are no UTF-8 become escapes."""
  return os.fsencode(path).decode("utf-8", "backslashreplace")
