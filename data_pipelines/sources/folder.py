"""Where training images come from, behind one small interface."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Protocol

from array_record.python import array_record_data_source

from data_pipelines import images, records

MANIFEST_NAME = "manifest.json"
FORMAT_NAME = "sapiens2_jax corpus"
_MANIFEST_KEYS = (
  "num_records",
  "num_bytes",
  "content_hash",
  "inputs_hash",
  "shards",
  "rejected",
  "duplicates",
)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class ShardReadError(RuntimeError):
  """A shard that is missing, has the wrong size or cannot be read."""


class ImageSource(Protocol):
  """A numbered collection of images.

  Must be picklable: each data worker gets its own copy, and files are opened
  there, on first use.
  """

  def __len__(self) -> int:
    """The number of records."""

  def __getitem__(self, index: int) -> records.Record:
    """Reads one record, 0 <= index < len.

    Raises:
      ImageDecodeError: this one image is unusable; others may be fine.
      IndexError: no such index.
    """

  def name(self, index: int) -> str:
    """Names a record in messages, also when it cannot be read."""


class FolderSource:
  """The images below a directory, sorted by relative path.

  Only the listing is read up front. Hidden files and directories are left
  out, symbolic links to directories are not followed.
  """

  def __init__(self, directory: str | os.PathLike):
    self._directory = pathlib.Path(directory)
    self._paths = _list_images(self._directory)

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> records.Record:
    return read_record(self.path(index), self.name(index))

  def name(self, index: int) -> str:
    """The relative path; bytes that are no UTF-8 appear as escapes."""
    path = os.fsencode(self._relative_path(index))
    return path.decode("utf-8", "backslashreplace")

  def path(self, index: int) -> pathlib.Path:
    """The file itself."""
    return self._directory / self._relative_path(index)

  def _relative_path(self, index: int) -> str:
    if not 0 <= index < len(self._paths):
      raise IndexError(f"index={index} is not in [0, {len(self._paths)}).")
    return self._paths[index]


class ArrayRecordSource:
  """A corpus written by `data_pipelines.build_corpus`.

  The manifest gives shard names and counts, so a shard is first opened when
  one of its records is asked for.

  Raises:
    ValueError: the manifest is unreadable, of another format or too new.
    ShardReadError: a shard is missing or its size is not the manifest's.
  """

  def __init__(self, directory: str | os.PathLike):
    directory = pathlib.Path(directory)
    shards = read_manifest(directory)["shards"]
    for shard in shards:
      _check_shard(directory, shard)
    self._ends = []
    for shard in shards:
      before = self._ends[-1] if self._ends else 0
      self._ends.append(before + shard["num_records"])
    self._paths = [str(directory / shard["file"]) for shard in shards]
    # The [from:to] form is what keeps the reader from opening every shard.
    self._reader = array_record_data_source.ArrayRecordDataSource(
      [
        f"{path}[0:{shard['num_records']}]"
        for path, shard in zip(self._paths, shards)
      ]
    )

  def __len__(self) -> int:
    return len(self._reader)

  def __getitem__(self, index: int) -> records.Record:
    if not 0 <= index < len(self):
      raise IndexError(f"index={index} is not in [0, {len(self)}).")
    try:
      data = self._reader[index]
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      raise ShardReadError(
        f"record {index}: cannot read {self._shard_of(index)}: {error}"
      ) from error
    return records.decode_record(data)

  def name(self, index: int) -> str:
    """The record's own name."""
    return self[index].name

  def _shard_of(self, index: int) -> str:
    return next(
      path for path, end in zip(self._paths, self._ends) if index < end
    )


def open_source(path: str | os.PathLike) -> ImageSource:
  """Opens a directory as a corpus if it has a manifest, else as a folder.

  Raises:
    ValueError: no such directory, or nothing usable in it.
    ShardReadError: a shard of the corpus is missing or has a wrong size.
  """
  path = pathlib.Path(path)
  if (path / MANIFEST_NAME).is_file():
    return ArrayRecordSource(path)
  source = FolderSource(path)
  if not len(source):
    raise ValueError(
      f"{path}: neither a corpus (no {MANIFEST_NAME}) nor a folder of images "
      f"(no {' '.join(EXTENSIONS)} below it)."
    )
  return source


def read_record(path: pathlib.Path, name: str) -> records.Record:
  """Makes a record of an image file, with nothing known of its source.

  Raises:
    ImageDecodeError: it cannot be read, or its header is not an image's.
  """
  try:
    image = path.read_bytes()
  except OSError as error:
    reason = error.strerror or type(error).__name__
    raise images.ImageDecodeError("cannot be read", reason) from error
  height, width = images.image_size(image)
  return records.Record(
    image=image,
    height=height,
    width=width,
    content_hash=records.hash_content(image),
    name=name,
    source="",
    licence="",
    attribution="",
  )


def read_manifest(directory: pathlib.Path) -> dict:
  """Reads and checks a corpus's manifest.

  Raises:
    ValueError: it cannot be read, is of another format, too new, or lacks an
      entry.
  """
  path = directory / MANIFEST_NAME
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT_NAME:
    raise ValueError(f"{path}: format={found!r}, expected {FORMAT_NAME!r}.")
  records.check_version(manifest.get("version"), str(path))
  for key in _MANIFEST_KEYS:
    if key not in manifest:
      raise ValueError(f"{path}: entry {key} is missing.")
  return manifest


def _check_shard(directory: pathlib.Path, shard: dict) -> None:
  path = directory / shard["file"]
  try:
    size = path.stat().st_size
  except OSError as error:
    raise ShardReadError(f"{path}: {error.strerror or error}.") from error
  if size != shard["num_bytes"]:
    raise ShardReadError(
      f"{path}: {size} bytes, the manifest says {shard['num_bytes']}."
    )


def _list_images(directory: pathlib.Path) -> list[str]:
  if not directory.is_dir():
    raise ValueError(
      f"{directory}: no such directory; expected a corpus with a "
      f"{MANIFEST_NAME} or a folder of images."
    )
  paths = []
  for parent, subdirectories, files in os.walk(directory):
    subdirectories[:] = [s for s in subdirectories if not s.startswith(".")]
    relative = pathlib.Path(parent).relative_to(directory)
    paths += [
      (relative / file).as_posix()
      for file in files
      if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
    ]
  return sorted(paths)
