"""Third pass of a build, second half: the kept images become shards."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator

from data_pipelines.building import dedup, scan, workspace
from data_pipelines.building.workspace import Building
from data_pipelines.common import files, progress
from data_pipelines.common.images import ImageDecodeError
from data_pipelines.common.worker_pool import WorkerPool
from data_pipelines.corpus import records, writer
from data_pipelines.corpus.manifest import ShardEntry


@dataclasses.dataclass(frozen=True)
class Shard:
  """Which images a shard is made of."""

  number: int
  num_shards: int  # In the corpus.
  piece: int  # Where its first record lies.
  skip: int  # Kept images of that piece that belong to the shard before.
  num_records: int


def plan_shards(
  kept_counts: Iterable[int], num_kept: int, shard_size: int
) -> Iterator[Shard]:
  """Cuts the kept images into shards, all of one size but the last.

  Args:
    kept_counts: for each piece, how many of its images are kept.
    num_kept: their sum.
    shard_size: records a shard, at least 1.
  """
  num_shards = -(-num_kept // shard_size)
  before = number = 0  # Kept images of the pieces before; shards so far.
  for piece, count in enumerate(kept_counts):
    while number * shard_size < before + count:
      start = number * shard_size
      size = min(shard_size, num_kept - start)
      yield Shard(number, num_shards, piece, start - before, size)
      number += 1
    before += count


def run_shards(
  building: Building,
  shards: Iterable[Shard],
  write: Callable[[Shard], int],
  workers: WorkerPool,
  *,
  label: str,
) -> list[ShardEntry]:
  """Has shards written that are not there yet, and shows how far it is.

  `write` does one with `pack_shard`, and must be picklable.

  Returns:
    What `writer.commit` needs to know of the shards.
  """
  shards = list(shards)
  total = sum(shard.num_records for shard in shards)
  with progress.Progress(label, total, "img") as shown:
    workspace.do_missing(
      workers,
      write,
      shards,
      shown,
      path=lambda shard: _entry_path(building, shard.number),
      size=lambda shard: shard.num_records,
    )
  return [
    ShardEntry(**files.read_json(_entry_path(building, shard.number)))
    for shard in shards
  ]


def write_shard(building: Building, shard: Shard) -> int:
  """Writes a shard of kept images; returns the number of its records.

  Raises:
    ChangedError: an image is not what it was when it was scanned.
    OSError: something cannot be read or written.
  """
  found = (_read_record(building, row) for row in _kept_rows(building, shard))
  return pack_shard(building, shard, found)


def pack_shard(
  building: Building,
  shard: Shard,
  contents: Iterable[records.Record],
  *,
  compress: bool = False,
) -> int:
  """Writes one shard, its index and its entry; see `writer.write_shard`.

  Returns:
    The number of its records.
  """
  shard_id = writer.number_shard(shard.number, shard.num_shards)
  entry = writer.write_shard(
    building.corpus, shard_id, contents, compress=compress
  )
  path = _entry_path(building, shard.number)
  files.write_json(path, dataclasses.asdict(entry))
  return shard.num_records


def _kept_rows(building: Building, shard: Shard) -> Iterator[dict]:
  number, skip, left = shard.piece, shard.skip, shard.num_records
  while left:
    piece = scan.ScannedPiece(building, number)
    rows = dedup.kept_rows(building, number, piece)[skip : skip + left]
    for row in rows:
      yield piece.read_row(int(row))
    number, skip, left = number + 1, 0, left - len(rows)


def _read_record(building: Building, row: dict) -> records.Record:
  location = scan.Location(*row["location"])
  try:
    image = scan.read_image(location)
    if records.hash_content(image) != row["content_hash"]:
      raise scan.ChangedError("it has other bytes")
  except (ImageDecodeError, scan.ChangedError) as error:
    raise scan.explain_change(building, location, row["name"], error) from error
  fields = {k: row[k] for k in ("name", "height", "width", "content_hash")}
  return records.make_record(image=image, **fields, **row["metadata"])


def _entry_path(building: Building, number: int) -> pathlib.Path:
  return building.root / "shards" / f"{number:06}.json"
