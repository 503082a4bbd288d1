"""Writes records as ArrayRecord shards with a manifest, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

from array_record.python import array_record_module

from data_pipelines import records, sources

# One record a group makes random access cheap; image files do not compress.
_WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class Rejected:
  """An image file left out of a corpus, and why."""

  name: str
  reason: str
  detail: str = ""


def write_corpus(
  items: Iterable[records.Record | Rejected],
  directory: pathlib.Path,
  *,
  shard_size: int,
  inputs_hash: str,
) -> dict:
  """Writes shards and the manifest into an existing directory.

  Of records with equal bytes the first is kept. Memory grows by about 200
  bytes a record (the hashes seen so far).

  Args:
    items: records to write in this order, and rejected files to list.
    directory: existing, without shards.
    shard_size: records a shard.
    inputs_hash: what the corpus was built from, for the manifest.

  Returns:
    The manifest.

  Raises:
    ValueError: not one record among the items.
  """
  rejected, duplicates, first_names = [], [], {}

  def distinct() -> Iterator[records.Record]:
    for item in items:
      if isinstance(item, Rejected):
        rejected.append(dataclasses.asdict(item))
      elif item.content_hash in first_names:
        same_as = first_names[item.content_hash]
        duplicates.append({"name": item.name, "same_as": same_as})
      else:
        first_names[item.content_hash] = item.name
        yield item

  shards = _write_shards(distinct(), directory, shard_size)
  if not shards:
    examples = "; ".join(
      f"{item['name']}: {item['reason']}" for item in rejected[:3]
    )
    raise ValueError(
      f"none of {len(rejected)} files is a usable image ({examples})."
    )
  hashes = "".join(shard["sha256"] for shard in shards)
  manifest = {
    "format": sources.FORMAT_NAME,
    "version": records.VERSION,
    "num_records": sum(shard["num_records"] for shard in shards),
    "num_bytes": sum(shard["num_bytes"] for shard in shards),
    "content_hash": hashlib.sha256(hashes.encode()).hexdigest(),
    "inputs_hash": inputs_hash,
    "shards": shards,
    "rejected": rejected,
    "duplicates": duplicates,
  }
  write_json(directory / sources.MANIFEST_NAME, manifest)
  return manifest


def write_json(path: pathlib.Path, value: object) -> None:
  """Writes readable JSON that ends with a newline."""
  text = json.dumps(value, indent=2, ensure_ascii=False)
  path.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def atomic_directory(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a directory to fill that takes its place only if all went well.

  Args:
    path: the final place; must not exist, or be an empty directory.

  Yields:
    A new hidden directory beside it, removed again on any exception.

  Raises:
    ValueError: there is something at `path`.
  """
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise ValueError(f"{path}: exists and is not empty; nothing was written.")
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
  partial.mkdir()
  try:
    yield partial
    os.replace(partial, path)
  except BaseException:  # Ctrl-C included: nothing half-written stays.
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _write_shards(
  items: Iterator[records.Record], directory: pathlib.Path, shard_size: int
) -> list[dict]:
  """Writes all shards; their number goes into the names at the end."""
  counts = []
  writer = None
  try:
    for item in items:
      if writer is None or counts[-1] == shard_size:
        if writer is not None:
          writer.close()
        path = directory / f"{len(counts)}.partial"
        writer = array_record_module.ArrayRecordWriter(
          str(path), _WRITER_OPTIONS
        )
        counts.append(0)
      writer.write(records.encode_record(item))
      counts[-1] += 1
  finally:
    if writer is not None:
      writer.close()
  shards = []
  for number, count in enumerate(counts):
    file = f"shard-{number:05}-of-{len(counts):05}.array_record"
    path = directory / file
    os.replace(directory / f"{number}.partial", path)
    with path.open("rb") as opened:
      digest = hashlib.file_digest(opened, "sha256").hexdigest()
    shards.append(
      {
        "file": file,
        "num_records": count,
        "num_bytes": path.stat().st_size,
        "sha256": digest,
      }
    )
  return shards
