"""Third pass of a build, second half: shards, their indexes, the manifest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from array_record.python import array_record_module

from data_pipelines.building import dedup, scan, workspace
from data_pipelines.common import progress, worker_pool
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records

# One record a group makes random access cheap; image files do not compress.
_WRITER_OPTIONS = "group_size:1,uncompressed"
LABELLED_OPTIONS = "group_size:1,zstd:1"  # Labels are stored to be compressed.


@dataclasses.dataclass(frozen=True)
class Shard:
  """Which images a shard is made of.

  Attributes:
    number: of the shard.
    num_shards: in the corpus.
    piece: where its first record lies.
    skip: kept images of that piece that belong to the shard before.
    num_records: of the shard.
  """

  number: int
  num_shards: int
  piece: int
  skip: int
  num_records: int


def plan_shards(
  kept_counts: Iterable[int], num_kept: int, shard_size: int
) -> Iterator[Shard]:
  """Cuts the kept images into shards, all of one size but the last.

  Args:
    kept_counts: for each piece, how many of its images are kept.
    num_kept: their sum.
    shard_size: records a shard, at least 1.

  Yields:
    The shards, in order.
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


def write_shards(
  root: pathlib.Path,
  num_pieces: int,
  num_kept: int,
  shard_size: int,
  workers: worker_pool.WorkerPool,
) -> list[dict]:
  """Writes all shards; those already written are left as they are.

  Args:
    root: the directory of the build, with duplicates found.
    num_pieces: scanned.
    num_kept: records to write.
    shard_size: records a shard.
    workers: to do the work.

  Returns:
    The manifest's entries of the shards.

  Raises:
    ChangedError: an image is not what it was when it was scanned.
    OSError: something cannot be read or written.
  """
  counts = dedup.read_kept_counts(root, num_pieces)
  return run_shards(
    root,
    plan_shards(counts, num_kept, shard_size),
    num_kept,
    functools.partial(write_shard, root),
    workers,
    label="packing",
  )


def run_shards(
  root: pathlib.Path,
  shards: Iterable[Shard],
  num_records: int,
  write: Callable[[Shard], int],
  workers: worker_pool.WorkerPool,
  *,
  label: str,
) -> list[dict]:
  """Has shards written that are not there yet, and shows how far it is.

  Args:
    root: the directory of the build.
    shards: all of them.
    num_records: their sum.
    write: does one with `pack_shard`; picklable.
    workers: to do the work.
    label: of the progress.

  Returns:
    The manifest's entries of the shards.
  """
  num_shards = 0

  def counted() -> Iterator[Shard]:
    nonlocal num_shards
    for shard in shards:
      num_shards += 1
      yield shard

  with progress.Progress(label, num_records, "img") as shown:
    missing = workspace.find_missing(
      counted(),
      shown,
      path=lambda shard: _entry_path(root, shard.number),
      size=lambda shard: shard.num_records,
    )
    for count in workers.map(write, missing):
      shown.advance(count)
  return [
    workspace.read_json(_entry_path(root, number))
    for number in range(num_shards)
  ]


def write_shard(root: pathlib.Path, shard: Shard) -> int:
  """Writes a shard of kept images; returns the number of its records."""
  found = (_read_record(root, row) for row in _kept_rows(root, shard))
  return pack_shard(root, shard, found, _WRITER_OPTIONS)


def pack_shard(
  root: pathlib.Path,
  shard: Shard,
  contents: Iterable[records.Record],
  writer_options: str,
) -> int:
  """Writes one shard, its index and its entry.

  Args:
    root: the directory of the build.
    shard: which one.
    contents: its records.
    writer_options: of the ArrayRecord writer.

  Returns:
    The number of its records.
  """
  corpus = root / workspace.CORPUS
  file, index = shard_names(shard.number, shard.num_shards)
  entry = write_records(
    root, corpus / file, corpus / index, contents, writer_options
  )
  workspace.write_json(root, _entry_path(root, shard.number), entry)
  return shard.num_records


def shard_names(number: int, num_shards: int) -> tuple[str, str]:
  """The file names of a shard and of its index."""
  suffix = f"{number:05}-of-{num_shards:05}"
  return f"shard-{suffix}.array_record", f"index-{suffix}.npz"


def write_records(
  root: pathlib.Path,
  file: pathlib.Path,
  index: pathlib.Path,
  found: Iterable[records.Record],
  writer_options: str = _WRITER_OPTIONS,
) -> dict:
  """Writes records into a shard, and its index; each whole or not at all.

  Args:
    root: the directory of the build.
    file: of the shard.
    index: file of the index.
    found: the records, at least one.
    writer_options: of the ArrayRecord writer.

  Returns:
    The manifest's entry of the shard.
  """
  hashes, sizes = [], []
  with workspace.whole_path(root, file) as path:
    writer = array_record_module.ArrayRecordWriter(path, writer_options)
    try:
      for record in found:
        writer.write(records.encode_record(record))
        hashes.append(bytes.fromhex(record.content_hash))
        sizes.append((record.height, record.width, len(record.image)))
    finally:
      writer.close()
    sha256, num_bytes = hash_file(path), os.path.getsize(path)
  sizes = np.array(sizes, np.int64)
  with workspace.whole_path(root, index) as path:
    with open(path, "wb") as opened:
      np.savez(
        opened,
        content_hash=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        height=sizes[:, 0].astype(np.int32),
        width=sizes[:, 1].astype(np.int32),
        num_bytes=sizes[:, 2],
      )
    index_sha256 = hash_file(path)
  return {
    "file": file.name,
    "num_records": len(sizes),
    "num_bytes": num_bytes,
    "sha256": sha256,
    "index": index.name,
    "index_sha256": index_sha256,
  }


def write_manifest(
  root: pathlib.Path,
  shards: list[dict],
  summary: dedup.Summary,
  inputs_hash: str,
) -> dict:
  """Writes the manifest; returns it."""
  manifest = {
    "format": manifests.FORMAT,
    "version": records.VERSION,
    "num_records": summary.num_kept,
    "num_bytes": sum(shard["num_bytes"] for shard in shards),
    "content_hash": manifests.hash_shards(shards),
    "inputs_hash": inputs_hash,
    "rejected": summary.rejected,
    "duplicates": summary.duplicates,
    "shards": shards,
  }
  manifest["manifest_hash"] = manifests.hash_manifest(manifest)
  workspace.write_json(root, root / workspace.CORPUS / manifests.NAME, manifest)
  return manifest


def hash_file(path: str | os.PathLike) -> str:
  """SHA-256 of a file on a disk, lower-case hex; reads it in pieces."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _kept_rows(root: pathlib.Path, shard: Shard) -> Iterator[dict]:
  number, skip, left = shard.piece, shard.skip, shard.num_records
  while left:
    piece = scan.ScannedPiece(root, number)
    rows = dedup.kept_rows(root, number, piece)[skip : skip + left]
    for row in rows:
      yield piece.read_row(int(row))
    number, skip, left = number + 1, 0, left - len(rows)


def _read_record(root: pathlib.Path, row: dict) -> records.Record:
  location = scan.Location(*row["location"])
  try:
    image = scan.read_image(location)
    if records.hash_content(image) != row["content_hash"]:
      raise scan.ChangedError("it has other bytes")
  except (scan.Rejected, scan.ChangedError) as error:
    raise scan.explain_change(root, location, row["name"], error) from error
  return records.make_record(
    image=image,
    height=row["height"],
    width=row["width"],
    content_hash=row["content_hash"],
    name=row["name"],
    **row["notes"],
  )


def _entry_path(root: pathlib.Path, number: int) -> pathlib.Path:
  return root / "shards" / f"{number:06}.json"
