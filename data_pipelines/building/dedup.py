"""Third pass of a build, first half: which of equal images is kept.

A position is piece * PIECE_SIZE + row, so positions are in input order. The
rows are cut into partitions by hash, of which one fits into memory; what is
found there goes into one sparse file with an entry for each position.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.building import listing, scan, workspace
from data_pipelines.common import jsonl, progress, worker_pool

PARTITION_SIZE = 2**18  # Rows, of 40 bytes; sorting takes about five times it.
BLOCK_SIZE = 128  # Pieces that are summed up together.
REJECTED = "rejected.jsonl"
DUPLICATES = "duplicates.jsonl"

_ROW = np.dtype([("hash", "S32"), ("position", np.int64)])
_ENTRY = np.dtype(np.int64)  # 1 + position of an equal one before, or 0.


@dataclasses.dataclass(frozen=True)
class Summary:
  """What is kept, and what is not.

  Attributes:
    num_kept: records to write.
    rejected: the manifest's entry of that name.
    duplicates: the manifest's entry of that name.
  """

  num_kept: int
  rejected: dict
  duplicates: dict


def find_duplicates(
  root: pathlib.Path, num_pieces: int, workers: worker_pool.WorkerPool
) -> Summary:
  """Decides for every usable image, and lists those that are left out.

  What a run before this one has decided is left as it is.

  Args:
    root: the directory of the build, with all pieces scanned.
    num_pieces: how many those are.
    workers: to do the work.

  Raises:
    InputError: no image is usable.
  """
  num_parts = -(-num_pieces * listing.PIECE_SIZE // PARTITION_SIZE)
  blocks = _blocks(num_pieces)
  total = 2 * num_pieces + num_parts
  with progress.Progress("deduplicating", total, "steps") as shown:
    if (root / "parts").exists():
      shown.advance(num_pieces)
    else:
      for count in _write_partitions(root, num_pieces, num_parts):
        shown.advance(count)
    for function, jobs, path, size in (
      (_find_in_partition, range(num_parts), _done_path, lambda part: 1),
      (_sum_up, blocks, _block_path, len),
    ):
      missing = workspace.find_missing(
        jobs, shown, path=functools.partial(path, root), size=size
      )
      for count in workers.map(functools.partial(function, root), missing):
        shown.advance(count)
  return _join_blocks(root, blocks)


def keep_all(root: pathlib.Path, num_records: int) -> Summary:
  """Sums up a build that leaves nothing out: writes two empty lists."""
  entries = [
    {
      "count": 0,
      "file": name,
      "sha256": _join_files(root, root / workspace.CORPUS / name, iter(())),
    }
    for name in (REJECTED, DUPLICATES)
  ]
  rejected, duplicates = entries
  return Summary(num_records, {**rejected, "by_reason": {}}, duplicates)


def read_kept_counts(root: pathlib.Path, num_pieces: int) -> Iterator[int]:
  """For each piece, how many of its images are kept."""
  for block in _blocks(num_pieces):
    yield from workspace.read_json(_block_path(root, block))["kept"]


def kept_rows(
  root: pathlib.Path, number: int, piece: scan.ScannedPiece
) -> np.ndarray:
  """The rows of a piece that become records."""
  first = _read_first(root, number * listing.PIECE_SIZE, len(piece))
  return piece.usable[first[piece.usable] < 0]


def _write_partitions(
  root: pathlib.Path, num_pieces: int, num_parts: int
) -> Iterator[int]:
  """Sorts the rows of all pieces into files by the start of their hash.

  Yields:
    Of how many pieces, again and again.
  """
  with workspace.whole_file(root, _first_path(root)) as file:
    file.truncate(num_pieces * listing.PIECE_SIZE * _ENTRY.itemsize)
  with workspace.whole_path(root, root / "parts") as partial:
    parts = pathlib.Path(partial)
    parts.mkdir()
    step = max(1, PARTITION_SIZE // listing.PIECE_SIZE)
    for start in range(0, num_pieces, step):
      numbers = range(start, min(start + step, num_pieces))
      rows = np.concatenate([_read_rows(root, number) for number in numbers])
      # One blank picture, a million times, must not fill one partition.
      rows = _mark_equal(root, rows)
      # The first four bytes as a number, scaled to the number of partitions.
      heads = np.frombuffer(rows["hash"].tobytes(), ">u4")[::8]
      targets = heads.astype(np.uint64) * np.uint64(num_parts) >> np.uint64(32)
      ends = np.searchsorted(targets, np.arange(num_parts + 1))
      for part in range(num_parts):
        with (parts / f"{part:06}").open("ab") as file:
          file.write(rows[ends[part] : ends[part + 1]].tobytes())
      yield len(numbers)
    for path in parts.iterdir():
      workspace.sync(path)


def _read_rows(root: pathlib.Path, number: int) -> np.ndarray:
  piece = scan.ScannedPiece(root, number)
  rows = np.empty(len(piece.usable), _ROW)
  rows["hash"] = piece.hashes
  rows["position"] = number * listing.PIECE_SIZE + piece.usable
  return rows


def _find_in_partition(root: pathlib.Path, part: int) -> int:
  """Marks all but the first of equal rows; again does no harm. Returns 1."""
  _mark_equal(root, np.fromfile(root / "parts" / f"{part:06}", _ROW))
  with workspace.whole_file(root, _done_path(root, part)):
    return 1


def _mark_equal(root: pathlib.Path, rows: np.ndarray) -> np.ndarray:
  """Makes entries for all but the first of equal rows.

  Returns:
    The others, sorted by hash.
  """
  rows = rows[np.argsort(rows["hash"], kind="stable")]
  is_new = np.ones(len(rows), bool)
  is_new[1:] = rows["hash"][1:] != rows["hash"][:-1]
  starts = np.maximum.accumulate(np.where(is_new, np.arange(len(rows)), 0))
  with _first_path(root).open("r+b") as file:
    for index in np.flatnonzero(~is_new):
      entry = rows["position"][starts[index]] + 1
      os.pwrite(
        file.fileno(),
        entry.tobytes(),
        int(rows["position"][index]) * _ENTRY.itemsize,
      )
    os.fsync(file.fileno())
  return rows[is_new]


def _read_first(root: pathlib.Path, position: int, count: int) -> np.ndarray:
  """For some positions, an equal one before each, or -1."""
  with _first_path(root).open("rb") as file:
    data = os.pread(
      file.fileno(), count * _ENTRY.itemsize, position * _ENTRY.itemsize
    )
  return np.frombuffer(data, _ENTRY) - 1


def _find_first(root: pathlib.Path, position: int) -> int:
  """The kept one of an equal one before a duplicate."""
  # That may itself be one: the first among few thousand, not among all.
  before = int(_read_first(root, position, 1)[0])
  return position if before < 0 else before


def _sum_up(root: pathlib.Path, numbers: range) -> int:
  """Lists what is left out of some pieces; returns how many those are."""
  read_piece = functools.lru_cache(BLOCK_SIZE)(
    functools.partial(scan.ScannedPiece, root)
  )
  kept, reasons, num_duplicates = [], collections.Counter(), 0
  path = _block_path(root, numbers)
  with (
    workspace.whole_file(root, path.with_suffix(".rejected")) as rejected,
    workspace.whole_file(root, path.with_suffix(".duplicates")) as duplicates,
  ):
    for number in numbers:
      piece = read_piece(number)
      first = _read_first(root, number * listing.PIECE_SIZE, len(piece))
      num_kept = 0
      usable = set(piece.usable.tolist())
      for row in range(len(piece)):
        if row not in usable:
          found = piece.read_row(row)
          reasons[found["reason"]] += 1
          rejected.write(_to_bytes(found))
        elif first[row] >= 0:
          same, same_row = divmod(
            _find_first(root, int(first[row])), listing.PIECE_SIZE
          )
          line = {
            "name": piece.read_row(row)["name"],
            "same_as": read_piece(same).read_row(same_row)["name"],
          }
          num_duplicates += 1
          duplicates.write(_to_bytes(line))
        else:
          num_kept += 1
      kept.append(num_kept)
  sums = {"kept": kept, "reasons": reasons, "num_duplicates": num_duplicates}
  workspace.write_json(root, path, sums)
  return len(numbers)


def _join_blocks(root: pathlib.Path, blocks: Sequence[range]) -> Summary:
  kept, reasons, num_duplicates = 0, collections.Counter(), 0
  for block in blocks:
    sums = workspace.read_json(_block_path(root, block))
    kept += sum(sums["kept"])
    reasons.update(sums["reasons"])
    num_duplicates += sums["num_duplicates"]
  sha256 = {
    name: _join_files(
      root,
      root / workspace.CORPUS / name,
      (_block_path(root, block).with_suffix(suffix) for block in blocks),
    )
    for name, suffix in ((REJECTED, ".rejected"), (DUPLICATES, ".duplicates"))
  }
  if not kept:
    raise workspace.InputError(
      f"none of {reasons.total()} files is a usable image "
      f"({_first_lines(root / workspace.CORPUS / REJECTED)})."
    )
  return Summary(
    kept,
    rejected={
      "count": reasons.total(),
      "by_reason": dict(sorted(reasons.items())),
      "file": REJECTED,
      "sha256": sha256[REJECTED],
    },
    duplicates={
      "count": num_duplicates,
      "file": DUPLICATES,
      "sha256": sha256[DUPLICATES],
    },
  )


def _join_files(
  root: pathlib.Path, path: pathlib.Path, parts: Iterator[pathlib.Path]
) -> str:
  """Puts files one behind the other; returns the SHA-256 of the whole."""
  digest = hashlib.sha256()
  with workspace.whole_file(root, path) as file:
    for part in parts:
      data = part.read_bytes()
      digest.update(data)
      file.write(data)
  return digest.hexdigest()


def _to_bytes(row: dict) -> bytes:
  """A line of UTF-8, whatever a decoder has put into its message."""
  return jsonl.to_line(row).encode("utf-8", "backslashreplace")


def _first_lines(path: pathlib.Path) -> str:
  with path.open(encoding="utf-8") as lines:
    rows = [json.loads(line) for line, _ in zip(lines, range(3))]
  return "; ".join(f"{row['name']}: {row['reason']}" for row in rows)


def _first_path(root: pathlib.Path) -> pathlib.Path:
  return root / "first.i64"


def _blocks(num_pieces: int) -> list[range]:
  """The numbers of all pieces, some at a time."""
  numbers = range(num_pieces)
  return [
    numbers[start : start + BLOCK_SIZE]
    for start in range(0, num_pieces, BLOCK_SIZE)
  ]


def _done_path(root: pathlib.Path, part: int) -> pathlib.Path:
  return root / "keep" / f"part-{part:06}"


def _block_path(root: pathlib.Path, block: range) -> pathlib.Path:
  return root / "keep" / f"{block.start:08}.json"
