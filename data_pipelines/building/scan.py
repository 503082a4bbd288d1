"""Second pass of a build: every image read, hashed and decoded once."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import warnings
from typing import NamedTuple

import numpy as np

from data_pipelines.building import workspace
from data_pipelines.building.listing import (
  Piece,
  Unit,
  metadata_path,
  read_pieces,
)
from data_pipelines.building.workspace import Building
from data_pipelines.common import files, images, progress, storage
from data_pipelines.common.images import ImageDecodeError
from data_pipelines.common.worker_pool import WorkerPool
from data_pipelines.corpus import records
from data_pipelines.sources import folder

_NEVER = (storage.NotAFile, IsADirectoryError, PermissionError)
BAD_METADATA = "bad notes"  # A reason of rejected.jsonl.


class Location(NamedTuple):
  """Where the bytes of a file are: alone, or inside of a tar."""

  path: str  # Or URL.
  start: int = 0
  size: int | None = None  # Bytes; None for the whole file.


class ChangedError(ValueError):
  """An image that changed between two passes of the build."""


def scan_pieces(
  building: Building, units: list[Unit], workers: WorkerPool
) -> int:
  """Scans all pieces; those already scanned are left as they are.

  Returns:
    The number of pieces.

  Raises:
    ChangedError: an image is not what it was when it was listed.
    OSError: something cannot be read.
  """
  pieces = total = 0
  for piece in read_pieces(building, units):
    pieces, total = pieces + 1, total + piece.num_images
  with progress.Progress("scanning", total, "img") as shown:
    try:
      workspace.do_missing(
        workers,
        functools.partial(scan_piece, building),
        read_pieces(building, units),
        shown,
        path=lambda piece: _arrays_path(building, piece.number),
        size=lambda piece: piece.num_images,
      )
    except ChildProcessError as error:
      raise ChildProcessError(f"{error}{_last_names(building)}") from error
  return pieces


def scan_piece(building: Building, piece: Piece) -> int:
  """Scans one piece; returns the number of its images."""
  offsets, usable, hashes = [0], [], []
  listing = building.root / "list" / piece.file
  with (
    files.whole_file(_rows_path(building, piece.number)) as file,
    listing.open("rb") as lines,
    warnings.catch_warnings(),
  ):
    warnings.simplefilter("ignore")  # PIL's, of files that are odd.
    for number, line in enumerate(lines):
      row = _scan_image(building, piece, *json.loads(line))
      if "content_hash" in row:
        usable.append(number)
        hashes.append(bytes.fromhex(row["content_hash"]))
      file.write(json.dumps(row).encode() + b"\n")
      file.flush()  # For `_last_names`.
      offsets.append(file.tell())
  with files.whole_file(_arrays_path(building, piece.number)) as file:
    np.savez(
      file,
      offset=np.array(offsets, np.int64),
      row=np.array(usable, np.int64),
      hash=np.array(hashes, "S32"),
    )
  return piece.num_images


class ScannedPiece:
  """The result of scanning one piece.

  Attributes:
    usable: numbers of the rows that are not rejected, int64.
    hashes: their SHA-256, "S32", so equal only if all 32 bytes are.
  """

  def __init__(self, building: Building, number: int):
    self._path = _rows_path(building, number)
    with np.load(_arrays_path(building, number)) as arrays:
      self._offsets = arrays["offset"]
      self.usable = arrays["row"]
      self.hashes = arrays["hash"]

  def __len__(self) -> int:
    return len(self._offsets) - 1

  def read_row(self, row: int) -> dict:
    """One row: name and location, or name and why it is rejected."""
    start, end = map(int, self._offsets[row : row + 2])
    return json.loads(storage.read_bytes(self._path, start, end - start))


def read_image(location: Location) -> bytes:
  """Reads an image that was listed.

  Raises:
    ImageDecodeError: it is there, and never can be read.
    ChangedError: it is not there any more, or shorter.
    OSError: it cannot be read now.
  """
  path = location.path
  try:
    data = _read(location)
  except storage.NotAFile as error:
    raise ImageDecodeError("cannot be read", error.strerror) from error
  except FileNotFoundError as error:
    if not storage.is_remote(path) and os.path.lexists(path):
      raise ImageDecodeError("cannot be read", "a link to nowhere") from error
    raise ChangedError("there is no such file any more") from error
  except PermissionError as error:
    raise ImageDecodeError("cannot be read", "no permission") from error
  if location.size not in (None, len(data)):
    raise ChangedError(f"{len(data)} bytes, listed were {location.size}")
  return data


def explain_change(
  building: Building, location: Location, name: str, problem: object
) -> ChangedError:
  """Makes the error that says which image changed, and what to do."""
  return ChangedError(
    f"{folder.show_path(location.path)}: {name}: changed in the middle of the "
    f"build: {problem}; put the old file back, or remove {building.root} to "
    "begin anew."
  )


def read_metadata(location: Location) -> dict:
  """Reads a sidecar; one that does not exist says nothing.

  Returns:
    Those of `records.METADATA` that it has.

  Raises:
    ImageDecodeError: it is no JSON object, or a field has a wrong form.
    OSError: it cannot be read now.
  """
  try:
    data = _read(location)
  except FileNotFoundError:
    return {}
  except _NEVER as error:
    raise ImageDecodeError(BAD_METADATA, str(error.strerror)) from error
  try:
    found = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise ImageDecodeError(BAD_METADATA, f"no JSON: {error}") from error
  if not isinstance(found, dict):
    raise ImageDecodeError(BAD_METADATA, "no JSON object")
  metadata = {name: found[name] for name in records.METADATA if name in found}
  nothing = dict(image=b"", height=1, width=1, content_hash="", name="")
  try:  # Can a record with it be written?
    record = records.make_record(**nothing, **metadata)
    records.encode_record(record)
  except (ValueError, OverflowError) as error:
    raise ImageDecodeError(BAD_METADATA, str(error)) from error
  for box in record.person_boxes:
    if min(box[2:]) <= 0 or (min(box) >= 0 and max(box) <= 1):
      raise ImageDecodeError(
        BAD_METADATA,
        f"person_boxes: {list(box)}, expected top, left, height and width in "
        "pixels",
      )
  return metadata


def _read(location: Location) -> bytes:
  try:
    return storage.read_regular(*location)
  except (*_NEVER, FileNotFoundError):
    raise
  except OSError as error:
    problem = error.strerror or error
    raise OSError(f"{folder.show_path(location.path)}: {problem}") from error


def _scan_image(
  building: Building,
  piece: Piece,
  path: str,
  start: int = 0,
  size: int | None = None,
  metadata_range: tuple[int, int] | None = None,
) -> dict:
  """Scans one image of a listing; returns its row."""
  unit = piece.unit
  name = unit.prefix + folder.show_path(path)
  whole = unit.path if unit.is_tar else storage.join(unit.path, path)
  location, metadata_location = Location(whole, start, size), None
  if unit.is_tar and metadata_range is not None:
    metadata_location = Location(whole, *metadata_range)
  elif not unit.is_tar and piece.has_metadata:
    metadata_location = Location(metadata_path(whole))
  try:
    data = read_image(location)
    metadata = read_metadata(metadata_location) if metadata_location else {}
    height, width, _ = images.decode_image(data).shape
  except ImageDecodeError as error:
    return {"name": name, "reason": error.reason, "detail": error.detail}
  except ChangedError as error:
    raise explain_change(building, location, name, error) from error
  except MemoryError as error:
    raise OSError(f"{whole}: {name}: not enough memory") from error
  return {
    "name": name,
    "location": location,
    "content_hash": records.hash_content(data),
    "height": height,
    "width": width,
    "metadata": metadata,
  }


def _last_names(building: Building) -> str:
  """Names the last image that each process read that did not finish."""
  names = []
  for path in sorted((building.root / "scan").glob(".*.jsonl.*")):
    lines = path.read_bytes().split(b"\n")[:-1]
    names.append(json.loads(lines[-1])["name"] if lines else "none")
  return f"; last images read: {', '.join(names)}" if names else ""


def _rows_path(building: Building, number: int) -> pathlib.Path:
  return building.root / "scan" / f"{number:08}.jsonl"


def _arrays_path(building: Building, number: int) -> pathlib.Path:
  return building.root / "scan" / f"{number:08}.npz"
