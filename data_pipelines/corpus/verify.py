"""Compares every byte of a corpus with its manifest."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping

from array_record.python import array_record_module

from data_pipelines.common import progress, storage, worker_pool
from data_pipelines.corpus import index as indices
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records

_READ_SIZE = 2**20
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_OURS = ("shard-*.array_record", "index-*.npz")


def verify_corpus(
  directory: str | os.PathLike, *, num_workers: int = 0
) -> Iterator[str]:
  """Reads a whole corpus and compares it with its manifest.

  Records are read one at a time in each process. A record's number is that
  in the corpus.

  Args:
    directory: of the corpus, on a disk or on gs://.
    num_workers: processes; 0 works in this one.

  Yields:
    Each damage, as one line that starts with the file's name.

  Raises:
    ValueError: there is no manifest, so this is no corpus; or a URL of
      another scheme.
    OSError: the directory cannot be listed, or a worker was ended.
  """
  workers = worker_pool.WorkerPool(num_workers)
  directory = os.fspath(directory)
  manifests.check_scheme(directory)
  if not manifests.is_corpus(directory):
    raise ValueError(f"{directory}: no corpus: it has no {manifests.NAME}.")
  try:
    manifest = manifests.read_form(directory)
  except ValueError as error:
    yield str(error)
    return
  for wrong in manifests.find_wrong_sums(manifest):
    yield f"{manifests.NAME}: {wrong}"
  for name in ("rejected", "duplicates"):
    yield from _check_list(directory, manifest[name])
  shards = manifest["shards"]
  listed = {shard[key] for shard in shards for key in ("file", "index")}
  for file in sorted(storage.list_sizes(directory)):
    if file not in listed and any(fnmatch.fnmatch(file, p) for p in _OURS):
      yield f"{file}: the manifest does not list it"
  check = functools.partial(_check_shard, directory)
  with (
    workers,
    progress.Progress("verifying", manifest["num_records"], "img") as shown,
  ):
    counts = (shard["num_records"] for shard in shards)
    firsts = itertools.accumulate(counts, initial=0)
    found = workers.map(check, zip(shards, firsts))
    for shard, damages in zip(shards, found):
      yield from damages
      shown.advance(shard["num_records"])


def _check_list(directory: str, entry: dict) -> Iterator[str]:
  """Checks rejected.jsonl or duplicates.jsonl."""
  path = storage.join(directory, entry["file"])
  try:
    sha256, _, num_lines = _hash_file(path)
  except OSError as error:
    yield f"{entry['file']}: {_one_line(error)}"
    return
  found = {"sha256": sha256, "lines": num_lines}
  yield from _compare(entry["file"], found, entry | {"lines": entry["count"]})


def _check_shard(directory: str, job: tuple[dict, int]) -> list[str]:
  """The damages of a shard, whose first record's number is given, and index."""
  shard, first = job
  file = shard["file"]
  index, damages = None, []
  try:
    index = indices.read_index(directory, shard)
  except (OSError, ValueError) as error:
    damages.append(f"{shard['index']}: {_one_line(error)}")
  path = storage.join(directory, file)
  try:
    sha256, num_bytes, _ = _hash_file(path)
  except OSError as error:
    return [*damages, f"{file}: {_one_line(error)}"]
  found = {"num_bytes": num_bytes}
  if num_bytes == shard["num_bytes"]:
    found = {"sha256": sha256}
  damages += _compare(file, found, shard)
  try:
    num_records = _open_shard(path).num_records()
  except (RuntimeError, ValueError, OSError) as error:
    return [*damages, f"{file}: cannot be opened: {_one_line(error)}"]
  damages += _compare(file, {"num_records": num_records}, shard)
  num_records = min(num_records, shard["num_records"])
  found = _check_records(path, num_records, index, first)
  return damages + [f"{file}: {damage}" for damage in found]


def _check_records(
  path: str, num_records: int, index: Mapping | None, first: int
) -> Iterator[str]:
  reader = None
  for number in range(num_records):
    row = None
    if index is not None and number < len(index["height"]):
      row = {name: index[name][number] for name in indices.DTYPES}
      row["content_hash"] = row["content_hash"].tobytes().hex()
    what = f"record {first + number}"
    try:
      if reader is None:
        reader = _open_shard(path)
      record = records.decode_record(reader.read([number])[0])
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      reader = None  # After an error it may be of no use.
      known = f" (content_hash {row['content_hash']})" if row else ""
      yield f"{what}{known}: cannot be read: {_one_line(error)}"
      continue
    what += f" ({record.name})"
    if records.hash_content(record.image) != record.content_hash:
      yield f"{what}: its image bytes do not have its content_hash"
    found = {
      "content_hash": record.content_hash,
      "height": record.height,
      "width": record.width,
      "num_bytes": len(record.image),
    }
    if row is not None:
      yield from _compare(what, found, row, "its index says")


def _open_shard(path: str) -> array_record_module.ArrayRecordReader:
  reader = array_record_module.ArrayRecordReader(path, _READER_OPTIONS)
  if not reader.ok():
    reader.close()  # Raises what went wrong.
  return reader


def _hash_file(path: str) -> tuple[str, int, int]:
  """SHA-256, size in bytes and line ends of a file, read in pieces."""
  digest, size, num_lines = hashlib.sha256(), 0, 0
  with storage.open_file(path) as file:
    while data := file.read(_READ_SIZE):
      digest.update(data)
      size += len(data)
      num_lines += data.count(b"\n")
  return digest.hexdigest(), size, num_lines


def _compare(
  what: str, found: Mapping, entry: Mapping, says: str = "the manifest says"
) -> Iterator[str]:
  for name, value in found.items():
    if value != entry[name]:
      yield f"{what}: {name} is {value}, {says} {entry[name]}"


def _one_line(error: Exception) -> str:
  text = getattr(error, "strerror", None) or str(error) or repr(error)
  return " ".join(text.split())
