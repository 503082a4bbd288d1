"""Second pass of a build: every image read, hashed and decoded once."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import warnings

import numpy as np

from data_pipelines.building import listing as corpus_listing
from data_pipelines.building import workspace
from data_pipelines.common import images, progress, storage, worker_pool
from data_pipelines.corpus import records
from data_pipelines.sources import folder


@dataclasses.dataclass(frozen=True)
class Location:
  """Where bytes lie.

  Attributes:
    path: file or URL.
    start: first byte.
    size: bytes; None for the whole file.
  """

  path: str
  start: int = 0
  size: int | None = None


class ChangedError(ValueError):
  """An image that is not what it was before."""


class Rejected(images.ImageDecodeError):
  """An image that is left out before it is decoded."""


def scan_pieces(
  root: pathlib.Path,
  units: list[corpus_listing.Unit],
  workers: worker_pool.WorkerPool,
) -> int:
  """Scans all pieces; those already scanned are left as they are.

  Returns:
    The number of pieces.

  Raises:
    ChangedError: an image is not what it was when it was listed.
    OSError: something cannot be read.
  """
  pieces = total = 0
  for piece in corpus_listing.read_pieces(root, units):
    pieces, total = pieces + 1, total + piece.num_images
  with progress.Progress("scanning", total, "img") as shown:
    missing = workspace.find_missing(
      corpus_listing.read_pieces(root, units),
      shown,
      path=lambda piece: _arrays_path(root, piece.number),
      size=lambda piece: piece.num_images,
    )
    try:
      for count in workers.map(functools.partial(scan_piece, root), missing):
        shown.advance(count)
    except ChildProcessError as error:
      raise ChildProcessError(f"{error}{_last_names(root)}") from error
  return pieces


def scan_piece(root: pathlib.Path, piece: corpus_listing.Piece) -> int:
  """Scans one piece; returns the number of its images."""
  offsets, usable, hashes = [0], [], []
  listing = root / "list" / piece.file
  with (
    workspace.whole_file(root, _rows_path(root, piece.number)) as file,
    listing.open("rb") as lines,
    warnings.catch_warnings(),
  ):
    warnings.simplefilter("ignore")  # PIL's, of files that are odd.
    for number, line in enumerate(lines):
      row = _scan_image(root, piece, *json.loads(line))
      if "content_hash" in row:
        usable.append(number)
        hashes.append(bytes.fromhex(row["content_hash"]))
      file.write(json.dumps(row).encode() + b"\n")
      file.flush()  # For `_last_names`.
      offsets.append(file.tell())
  arrays = {
    "offset": np.array(offsets, np.int64),
    "row": np.array(usable, np.int64),
    "hash": np.array(hashes, "S32"),
  }
  with workspace.whole_file(root, _arrays_path(root, piece.number)) as file:
    np.savez(file, **arrays)
  return piece.num_images


class ScannedPiece:
  """What is known of the images of one piece.

  Attributes:
    usable: numbers of the rows that are not rejected, int64.
    hashes: their SHA-256, "S32", so equal only if all 32 bytes are.
  """

  def __init__(self, root: pathlib.Path, number: int):
    self._path = _rows_path(root, number)
    with np.load(_arrays_path(root, number)) as arrays:
      self._offsets = arrays["offset"]
      self.usable = arrays["row"]
      self.hashes = arrays["hash"]

  def __len__(self) -> int:
    return len(self._offsets) - 1

  def read_row(self, row: int) -> dict:
    """One row: name and location, or name and why it is rejected."""
    start, end = map(int, self._offsets[row : row + 2])
    return json.loads(storage.read_range(self._path, start, end - start))


def read_image(location: Location) -> bytes:
  """Reads an image that was listed.

  Raises:
    Rejected: it is there, and never can be read.
    ChangedError: it is not there any more, or shorter.
    OSError: it cannot be read now.
  """
  path = location.path
  if not storage.is_remote(path) and not os.path.isfile(path):
    if os.path.lexists(path):
      raise Rejected("cannot be read", "no file behind this name")
    raise ChangedError("there is no such file any more")
  try:
    data = _read(location)
  except FileNotFoundError as error:
    raise ChangedError("there is no such file any more") from error
  except PermissionError as error:
    raise Rejected("cannot be read", "no permission") from error
  if location.size not in (None, len(data)):
    raise ChangedError(f"{len(data)} bytes, listed were {location.size}")
  return data


def explain_change(
  root: pathlib.Path, location: Location, name: str, problem: object
) -> ChangedError:
  """Makes the error that says which image changed, and what to do."""
  return ChangedError(
    f"{folder.show_path(location.path)}: {name}: changed in the middle of the "
    f"build: {problem}; put the old file back, or remove {root} to begin anew."
  )


def read_notes(location: Location) -> dict:
  """Reads a sidecar; one that does not exist says nothing.

  Returns:
    Those of `records.NOTES` that it has.

  Raises:
    Rejected: it is no JSON object, or a field has a wrong form.
    OSError: it cannot be read now.
  """
  try:
    data = _read(location)
  except FileNotFoundError:
    return {}
  except (IsADirectoryError, PermissionError) as error:
    raise Rejected("bad notes", type(error).__name__) from error
  try:
    found = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise Rejected("bad notes", f"no JSON: {error}") from error
  if not isinstance(found, dict):
    raise Rejected("bad notes", "no JSON object")
  notes = {name: found[name] for name in records.NOTES if name in found}
  try:
    _check_notes(notes)
  except (ValueError, OverflowError) as error:
    raise Rejected("bad notes", str(error)) from error
  return notes


def _read(location: Location) -> bytes:
  try:
    if location.size is None:
      return storage.read_bytes(location.path)
    return storage.read_range(location.path, location.start, location.size)
  except (FileNotFoundError, IsADirectoryError, PermissionError):
    raise
  except OSError as error:
    problem = error.strerror or error
    raise OSError(f"{folder.show_path(location.path)}: {problem}") from error


def _check_notes(notes: dict) -> None:
  """Raises unless a record with them can be written."""
  record = records.make_record(
    **dict(image=b"", height=1, width=1, content_hash="", name=""), **notes
  )
  records.encode_record(record)


def _scan_image(
  root: pathlib.Path,
  piece: corpus_listing.Piece,
  path: str,
  start: int = 0,
  size: int | None = None,
  notes_place: tuple[int, int] | None = None,
) -> dict:
  """Makes a row of one that `corpus_listing` wrote."""
  unit = piece.unit
  name = unit.prefix + folder.show_path(path)
  whole = unit.place if unit.is_tar else storage.join(unit.place, path)
  location, notes_location = Location(whole, start, size), None
  if unit.is_tar and notes_place is not None:
    notes_location = Location(whole, *notes_place)
  elif not unit.is_tar and piece.has_notes:
    notes_location = Location(corpus_listing.notes_path(whole))
  try:
    data = read_image(location)
    notes = read_notes(notes_location) if notes_location else {}
    height, width, _ = images.decode_image(data).shape
  except images.ImageDecodeError as error:
    return {"name": name, "reason": error.reason, "detail": error.detail}
  except ChangedError as error:
    raise explain_change(root, location, name, error) from error
  except MemoryError as error:
    raise OSError(f"{whole}: {name}: not enough memory") from error
  return {
    "name": name,
    "location": dataclasses.astuple(location),
    "content_hash": records.hash_content(data),
    "height": height,
    "width": width,
    "notes": notes,
  }


def _last_names(root: pathlib.Path) -> str:
  """Says how far each process was that did not come to the end."""
  names = []
  for path in workspace.unfinished(root, ".jsonl"):
    lines = path.read_bytes().split(b"\n")[:-1]
    names.append(json.loads(lines[-1])["name"] if lines else "none")
  return f"; last images read: {', '.join(names)}" if names else ""


def _rows_path(root: pathlib.Path, number: int) -> pathlib.Path:
  return root / "scan" / f"{number:08}.jsonl"


def _arrays_path(root: pathlib.Path, number: int) -> pathlib.Path:
  return root / "scan" / f"{number:08}.npz"
