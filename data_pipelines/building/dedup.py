"""Third pass of a build, first half: of equal images, one is kept.

A position is piece * sizes.piece + row, so positions are in input order. The
rows are cut into partitions by hash, of which one fits into memory; what is
found there goes into one sparse file with an entry for each position.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from data_pipelines.building import workspace
from data_pipelines.building.scan import ScannedPiece
from data_pipelines.building.workspace import Building
from data_pipelines.common import files, jsonl, progress
from data_pipelines.common.worker_pool import WorkerPool

_ROW = np.dtype([("hash", "S32"), ("position", np.int64)])
_ENTRY = np.dtype(np.int64)  # 1 + position of an equal one before, or 0.


def find_duplicates(
  building: Building, num_pieces: int, workers: WorkerPool
) -> int:
  """Decides for every usable image, and lists those that are left out.

  All pieces must be scanned. What a run before this one has decided is left
  as it is.

  Returns:
    How many images are kept.

  Raises:
    InputError: no image is usable.
  """
  num_parts = -(-num_pieces * building.sizes.piece // building.sizes.partition)
  blocks = _blocks(building, num_pieces)
  total = 2 * num_pieces + num_parts
  with progress.Progress("deduplicating", total, "steps") as shown:
    if (building.root / "parts").exists():
      shown.advance(num_pieces)
    else:
      for count in _write_partitions(building, num_pieces, num_parts):
        shown.advance(count)
    for function, jobs, path, size in (
      (_find_in_partition, range(num_parts), _done_path, lambda part: 1),
      (_sum_up, blocks, _block_path, len),
    ):
      function, path = (
        functools.partial(f, building) for f in (function, path)
      )
      workspace.do_missing(workers, function, jobs, shown, path=path, size=size)
  num_kept = sum(read_kept_counts(building, num_pieces))
  if not num_kept:
    rejected = list(read_left_out(building, num_pieces, "rejected"))
    shown = [f"{row['name']}: {row['reason']}" for row in rejected[:3]]
    raise workspace.InputError(
      f"none of {len(rejected)} files is a usable image ({'; '.join(shown)})."
    )
  return num_kept


def read_kept_counts(building: Building, num_pieces: int) -> Iterator[int]:
  """For each piece, how many of its images are kept."""
  for block in _blocks(building, num_pieces):
    yield from files.read_json(_block_path(building, block))["kept"]


def read_left_out(
  building: Building, num_pieces: int, kind: str
) -> Iterator[dict]:
  """The lines of the list "rejected" or "duplicates", in order."""
  for block in _blocks(building, num_pieces):
    path = _block_path(building, block)
    yield from jsonl.read_rows(path.with_suffix(f".{kind}"))


def kept_rows(
  building: Building, number: int, piece: ScannedPiece
) -> np.ndarray:
  """The rows of a piece that become records."""
  first = _read_first(building, number * building.sizes.piece, len(piece))
  return piece.usable[first[piece.usable] < 0]


def _write_partitions(
  building: Building, num_pieces: int, num_parts: int
) -> Iterator[int]:
  """Sorts the rows of all pieces into files by the start of their hash.

  Yields:
    After each step, the number of pieces that it has sorted.
  """
  with files.whole_file(_first_path(building)) as file:
    file.truncate(num_pieces * building.sizes.piece * _ENTRY.itemsize)
  with files.whole_path(building.root / "parts") as partial:
    parts = pathlib.Path(partial)
    parts.mkdir()
    step = max(1, building.sizes.partition // building.sizes.piece)
    for start in range(0, num_pieces, step):
      numbers = range(start, min(start + step, num_pieces))
      rows = np.concatenate([_read_rows(building, n) for n in numbers])
      # One blank picture, a million times, must not fill one partition.
      rows = _mark_equal(building, rows)
      # The first four bytes as a number, scaled to the number of partitions.
      heads = np.frombuffer(rows["hash"].tobytes(), ">u4")[::8]
      targets = heads.astype(np.uint64) * np.uint64(num_parts) >> np.uint64(32)
      ends = np.searchsorted(targets, np.arange(num_parts + 1))
      for part in range(num_parts):
        with (parts / f"{part:06}").open("ab") as file:
          file.write(rows[ends[part] : ends[part + 1]].tobytes())
      yield len(numbers)
    for path in parts.iterdir():
      files.sync(path)


def _read_rows(building: Building, number: int) -> np.ndarray:
  piece = ScannedPiece(building, number)
  rows = np.empty(len(piece.usable), _ROW)
  rows["hash"] = piece.hashes
  rows["position"] = number * building.sizes.piece + piece.usable
  return rows


def _find_in_partition(building: Building, part: int) -> int:
  """Marks all but the first of equal rows; may be repeated. Returns 1."""
  rows = np.fromfile(building.root / "parts" / f"{part:06}", _ROW)
  _mark_equal(building, rows)
  with files.whole_file(_done_path(building, part)):
    return 1


def _mark_equal(building: Building, rows: np.ndarray) -> np.ndarray:
  """Writes where the first one is, for all but the first of equal rows.

  Returns:
    The others, sorted by hash.
  """
  rows = rows[np.argsort(rows["hash"], kind="stable")]
  is_new = np.ones(len(rows), bool)
  is_new[1:] = rows["hash"][1:] != rows["hash"][:-1]
  starts = np.maximum.accumulate(np.where(is_new, np.arange(len(rows)), 0))
  with _first_path(building).open("r+b") as file:
    for index in np.flatnonzero(~is_new):
      entry = rows["position"][starts[index]] + 1
      place = int(rows["position"][index]) * _ENTRY.itemsize
      os.pwrite(file.fileno(), entry.tobytes(), place)
    os.fsync(file.fileno())
  return rows[is_new]


def _read_first(building: Building, position: int, count: int) -> np.ndarray:
  """For `count` positions, that of an equal image before each, or -1."""
  size = _ENTRY.itemsize
  with _first_path(building).open("rb") as file:
    data = os.pread(file.fileno(), count * size, position * size)
  return np.frombuffer(data, _ENTRY) - 1


def _sum_up(building: Building, numbers: range) -> int:
  """Lists what is left out of some pieces; returns how many those are."""
  read_piece = functools.lru_cache(building.sizes.block)(
    functools.partial(ScannedPiece, building)
  )
  kept, path = [], _block_path(building, numbers)
  with (
    files.whole_file(path.with_suffix(".rejected")) as rejected,
    files.whole_file(path.with_suffix(".duplicates")) as duplicates,
  ):
    for number in numbers:
      piece = read_piece(number)
      for row in np.setdiff1d(np.arange(len(piece)), piece.usable):
        rejected.write(jsonl.to_bytes(piece.read_row(row)))
      first = _read_first(building, number * building.sizes.piece, len(piece))
      copies = piece.usable[first[piece.usable] >= 0]
      for row in copies:
        position = int(first[row])
        # Maybe a copy, too: the first of one partition step, not of all.
        before = int(_read_first(building, position, 1)[0])
        position = position if before < 0 else before
        same, same_row = divmod(position, building.sizes.piece)
        line = {
          "name": piece.read_row(row)["name"],
          "same_as": read_piece(same).read_row(same_row)["name"],
        }
        duplicates.write(jsonl.to_bytes(line))
      kept.append(len(piece.usable) - len(copies))
  files.write_json(path, {"kept": kept})
  return len(numbers)


def _first_path(building: Building) -> pathlib.Path:
  return building.root / "first.i64"


def _blocks(building: Building, num_pieces: int) -> list[range]:
  """The numbers of all pieces, cut into blocks."""
  numbers, size = range(num_pieces), building.sizes.block
  return [numbers[start : start + size] for start in numbers[::size]]


def _done_path(building: Building, part: int) -> pathlib.Path:
  return building.root / "keep" / f"part-{part:06}"


def _block_path(building: Building, block: range) -> pathlib.Path:
  return building.root / "keep" / f"{block.start:08}.json"
