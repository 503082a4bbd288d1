"""What a collection of images must offer to be trained on."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from data_pipelines.common import images, storage
from data_pipelines.corpus import records

_UNUSABLE = (
  *(FileNotFoundError, PermissionError, IsADirectoryError),
  storage.NotAFile,
)


class ShardReadError(RuntimeError):
  """A file of a source that is missing, damaged or cannot be read."""


@runtime_checkable
class ImageSource(Protocol):
  """A numbered collection of images.

  Must be picklable: each data worker gets its own copy, and files are opened
  there, on first use. Reading must be safe from several threads.
  """

  def __len__(self) -> int:
    """The number of records."""

  def __getitem__(self, index: int) -> records.Record:
    """Reads one record, 0 <= index < len.

    Raises:
      ImageDecodeError: this one image is unusable; others may be fine.
      ShardReadError: the file that holds it cannot be read.
      IndexError: no such index.
    """

  def name(self, index: int) -> str:
    """Names a record in messages, also when it cannot be read."""

  def location(self, index: int) -> str:
    """The file that holds a record."""

  def identity(self) -> str:
    """A hash that other contents change, as far as opening them shows."""


class NamedFiles:
  """What sources of image files of known paths have in common."""

  def __init__(self, paths: Sequence[str], names: Sequence[str]):
    """Takes paths or URLs of images, and what to call them in messages."""
    self._paths, self._names = list(paths), list(names)

  def __len__(self) -> int:
    return len(self._paths)

  def name(self, index: int) -> str:
    check_index(index, len(self))
    return self._names[index]

  def location(self, index: int) -> str:
    check_index(index, len(self))
    return self._paths[index]

  def identity(self) -> str:
    """Of the names; what is in the files is not known."""
    return hash_texts(self._names)


def hash_texts(texts: Iterable[object]) -> str:
  """SHA-256 of texts in order, lower-case hex."""
  hashed = hashlib.sha256()
  for text in texts:
    data = str(text).encode("utf-8", "backslashreplace")
    hashed.update(b"%d:" % len(data) + data)
  return hashed.hexdigest()


def check_index(index: int, length: int) -> None:
  """Raises IndexError unless 0 <= index < length."""
  if not 0 <= index < length:
    raise IndexError(f"index={index} is not in [0, {length}).")


def locate(ends: Sequence[int], index: int) -> tuple[int, int]:
  """Which part holds a record, and its number there.

  Args:
    ends: for each part, one more than the number of its last record.
    index: of the record.

  Raises:
    IndexError: no part holds it.
  """
  check_index(index, ends[-1] if ends else 0)
  part = bisect.bisect_right(ends, index)
  return part, index - (ends[part - 1] if part else 0)


def read_file(path: str, what: str = "") -> bytes:
  """Reads a file that belongs to one image.

  Raises:
    ImageDecodeError: it is not there, no file, or may not be read; `what`
      begins the detail.
    ShardReadError: it cannot be read now.
  """
  try:
    return storage.read_regular(path)
  except _UNUSABLE as error:
    reason = error.strerror or type(error).__name__
    raise images.ImageDecodeError("cannot be read", what + reason) from error
  except OSError as error:
    raise ShardReadError(f"{path}: {error}") from error


def make_image_record(image: bytes, name: str) -> records.Record:
  """Makes a record of an image file, with nothing known beside it.

  Raises:
    ImageDecodeError: its header is not an image's.
  """
  height, width = images.image_size(image)
  content_hash = records.hash_content(image)
  return records.Record(image, height, width, content_hash, name)


def check_content(record: records.Record, where: str) -> None:
  """Raises ImageDecodeError unless a record's image has its content hash."""
  found = records.hash_content(record.image)
  if found != record.content_hash:
    raise images.ImageDecodeError(
      "wrong bytes",
      f"{where}: content_hash is {record.content_hash[:12]}, its bytes have "
      f"{found[:12]}",
    )
