"""Writes a corpus: shards by anyone, in any order, the manifest at the end.

A shard is written by one call, on any machine, into a directory on a disk or
in a bucket. Whoever has gathered the entries that these calls return commits
them, and with that the directory is a corpus:

    entries = pool.map(write_one, jobs)  # each calls write_shard
    commit("gs://bucket/corpus", entries)

Written again, or by two workers at once, a shard has the same bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
from array_record.python import array_record_module

from data_pipelines.common import checksums, files, jsonl, storage
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records
from data_pipelines.corpus.manifest import ShardEntry

Rows = Iterable[Mapping[str, str]]

REJECTED = "rejected.jsonl"
DUPLICATES = "duplicates.jsonl"
# One record a group makes random access cheap; image files do not compress.
_PLAIN = "group_size:1,uncompressed"
_COMPRESSED = "group_size:1,zstd:1"
_OWN_ENTRIES = manifests.ENTRIES - {"inputs_hash"}


def number_shard(number: int, num_shards: int) -> str:
  """The id of a shard when it is known how many there will be."""
  return f"{number:05}-of-{num_shards:05}"


def shard_files(shard_id: str) -> tuple[str, str]:
  """The file names of a shard and of its index.

  Raises:
    ValueError: an id that is not made of letters, digits, `_` and `-`.
  """
  if not re.fullmatch(r"[A-Za-z0-9_-]+", shard_id):
    raise ValueError(
      f"shard_id={shard_id!r} must be made of letters, digits, _ and -."
    )
  return f"shard-{shard_id}.array_record", f"index-{shard_id}.npz"


def write_shard(
  directory: str | os.PathLike,
  shard_id: str,
  found: Iterable[records.Record],
  *,
  compress: bool = False,
) -> ShardEntry:
  """Writes records into a shard, and its index; each whole or not at all.

  A shard that is there already is replaced. The bytes depend on the records
  and on `compress` alone.

  Args:
    directory: of the corpus, a path or a URL that fsspec writes; is made.
    shard_id: names the shard, and decides where it comes among the others,
      see `commit`.
    found: the records, at least one; taken one at a time.
    compress: worth its time for records with labels, not for images alone.

  Returns:
    What `commit` needs to know of the shard.

  Raises:
    ValueError: no records, a bad id, or a URL of an unknown scheme.
    OSError: the shard cannot be written; then there is none.
  """
  file, index = shard_files(shard_id)
  hashes, sizes = [], []
  with files.whole_path(storage.join(directory, file)) as path:
    writer = array_record_module.ArrayRecordWriter(
      path, _COMPRESSED if compress else _PLAIN
    )
    try:
      for record in found:
        writer.write(records.encode_record(record))
        hashes.append(bytes.fromhex(record.content_hash))
        sizes.append((record.height, record.width, len(record.image)))
    finally:
      writer.close()
    if not sizes:
      raise ValueError(f"{file}: a shard needs at least one record.")
    sha256, num_bytes = checksums.sha256(path), os.path.getsize(path)
  columns = np.array(sizes, np.int64)
  with files.whole_path(storage.join(directory, index)) as path:
    with open(path, "wb") as opened:
      np.savez(
        opened,
        content_hash=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        height=columns[:, 0].astype(np.int32),
        width=columns[:, 1].astype(np.int32),
        num_bytes=columns[:, 2],
      )
    index_sha256 = checksums.sha256(path)
  return ShardEntry(file, len(sizes), num_bytes, sha256, index, index_sha256)


def commit(
  directory: str | os.PathLike,
  entries: Iterable[ShardEntry],
  rejected: Rows = (),
  duplicates: Rows = (),
  provenance: Mapping[str, object] | None = None,
) -> dict:
  """Makes a directory of shards a corpus: the manifest appears, at last.

  To be called once, when no worker writes any more. The shards come in the
  order of their ids, in which digits count as numbers, whatever the order of
  the entries; an entry that is given twice counts once.

  Args:
    directory: where the shards are, a path or a URL.
    entries: what `write_shard` returned.
    rejected: what is left out: `name`, `reason` and `detail` of each.
    duplicates: `name` of an image that is left out because another one,
      `same_as`, has its bytes.
    provenance: what the corpus is made from, JSON, as further entries of the
      manifest; `inputs_hash` among them, or else it is made of the others.

  Returns:
    The manifest.

  Raises:
    ValueError: no entries, two that name the same file and differ, or an
      entry of `provenance` that the manifest has already.
    OSError: a shard or an index is not there as it was written, and is named;
      or something cannot be written. Then there is no manifest.
  """
  shards = _order(entries)
  provenance = dict(provenance or {})
  if taken := sorted(_OWN_ENTRIES & set(provenance)):
    raise ValueError(f"provenance: the manifest has {', '.join(taken)} itself.")
  if "inputs_hash" not in provenance:
    text = json.dumps(provenance, sort_keys=True)
    provenance["inputs_hash"] = hashlib.sha256(text.encode()).hexdigest()
  _check_files(directory, shards)
  by_reason = collections.Counter()

  def counted() -> Rows:
    for row in rejected:
      by_reason[row["reason"]] += 1
      yield row

  left_out = _write_list(directory, REJECTED, counted())
  listed = [dataclasses.asdict(shard) for shard in shards]
  manifest = {
    "format": manifests.FORMAT,
    "version": records.VERSION,
    "num_records": sum(shard.num_records for shard in shards),
    "num_bytes": sum(shard.num_bytes for shard in shards),
    "content_hash": manifests.hash_shards(listed),
    **provenance,
    "rejected": {
      "count": left_out.pop("count"),
      "by_reason": dict(sorted(by_reason.items())),
      **left_out,
    },
    "duplicates": _write_list(directory, DUPLICATES, duplicates),
    "shards": listed,
  }
  manifest["manifest_hash"] = manifests.hash_manifest(manifest)
  files.remove_partial(directory)
  files.write_json(storage.join(directory, manifests.NAME), manifest)
  return manifest


def _order(entries: Iterable[ShardEntry]) -> list[ShardEntry]:
  """Each entry once, by the ids of the shards."""
  known = {}
  for entry in entries:
    if known.setdefault(entry.file, entry) != entry:
      raise ValueError(f"{entry.file}: two shards of this name differ.")
  if not known:
    raise ValueError("a corpus needs at least one shard.")
  return sorted(
    known.values(),
    key=lambda entry: [
      (int(part), "") if part.isdecimal() else (-1, part)
      for part in re.split(r"(\d+)", entry.file)
    ],
  )


def _check_files(
  directory: str | os.PathLike, shards: Iterable[ShardEntry]
) -> None:
  sizes = storage.list_sizes(directory)
  for shard in shards:
    for file in (shard.file, shard.index):
      if file not in sizes:
        raise FileNotFoundError(
          f"{storage.join(directory, file)}: No such file; write that shard "
          "before the manifest."
        )
    if sizes[shard.file] != shard.num_bytes:
      raise OSError(
        f"{storage.join(directory, shard.file)}: {sizes[shard.file]} bytes, "
        f"written were {shard.num_bytes}."
      )


def _write_list(directory: str | os.PathLike, name: str, rows: Rows) -> dict:
  """Writes a list of images; returns its entry of the manifest."""
  count = 0
  with files.whole_path(storage.join(directory, name)) as path:
    with open(path, "wb") as file:
      for row in rows:
        file.write(jsonl.to_bytes(row))
        count += 1
    sha256 = checksums.sha256(path)
  return {"count": count, "file": name, "sha256": sha256}
