"""Corpora of ArrayRecord shards, on a disk or on gs://."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from array_record.python import array_record_data_source

from data_pipelines.common import storage
from data_pipelines.corpus import index as indices
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records
from data_pipelines.sources import base

MAX_OPEN_SHARDS = 64  # Each data process keeps at most so many open.
MAX_KEPT = 2**21  # Records whose hashes each data process keeps: 64 MB.
# Read from a shard's end when it is opened; holds the positions of about 1000
# records, the default of build_corpus. Of more, it reads the rest as well.
_FOOTER = "128K"


def check_shards(
  directory: str | os.PathLike, shards: Mapping[str, int | None]
) -> None:
  """Compares shards with what one listing of their directory says.

  Args:
    directory: of the shards.
    shards: file name -> size in bytes, None where it is not known; also
      other files.

  Raises:
    ShardReadError: one is missing or has another size.
  """
  sizes = storage.list_sizes(directory)
  for file, expected in shards.items():
    path = storage.join(directory, file)
    if file not in sizes:
      raise base.ShardReadError(f"{path}: No such file.")
    if expected not in (None, sizes[file]):
      raise base.ShardReadError(
        f"{path}: {sizes[file]} bytes, the manifest says {expected}."
      )


class ShardReader:
  """Reads records by number from many shards, few of them open at a time.

  Safe to use from several threads; a copy for another process opens its own
  files. While a thread reads from an open shard no other one uses that: a
  read that hangs stops no other, nor a second attempt at the same record.
  """

  def __init__(self, paths: Sequence[str], counts: Sequence[int]):
    """Opens nothing yet.

    Args:
      paths: the shards, in order, on a disk or on gs://.
      counts: how many records each holds.

    Raises:
      ValueError: a URL of another scheme.
    """
    for path in paths:
      manifests.check_scheme(path)
    self._paths = list(paths)
    self._ends = list(itertools.accumulate(counts))
    self._start()

  def _start(self) -> None:
    self._lock = threading.Lock()
    self._idle = []  # (shard, open reader), last used last.
    self._num_busy = 0

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: int) -> bytes:
    """Reads one record.

    Raises:
      ShardReadError: naming the shard.
      IndexError: no such record.
    """
    shard, position = self.locate(index)
    reader = self._take(shard)
    try:
      if reader is None:
        reader = self._open(shard)
      return reader[position]
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      reader = None  # A new attempt opens the file anew.
      raise base.ShardReadError(
        f"record {index}: cannot read {self._paths[shard]}: {error}"
      ) from error
    finally:
      self._give_back(shard, reader)

  def locate(self, index: int) -> tuple[int, int]:
    """Which shard holds a record, and its number there."""
    return base.locate(self._ends, index)

  def location(self, index: int) -> str:
    """The shard that holds a record."""
    return self._paths[self.locate(index)[0]]

  def _open(self, shard: int) -> array_record_data_source.ArrayRecordDataSource:
    start = self._ends[shard - 1] if shard else 0
    # The [from:to] form: else it opens the file once more to count.
    return array_record_data_source.ArrayRecordDataSource(
      f"{self._paths[shard]}[0:{self._ends[shard] - start}]",
      {"footer_prefetch_bytes": _FOOTER},
    )

  def _take(self, shard: int):
    """An open reader of a shard that is now ours, or None."""
    with self._lock:
      self._num_busy += 1
      found = (i for i, (held, _) in enumerate(self._idle) if held == shard)
      number = next(found, None)
      reader = None if number is None else self._idle.pop(number)[1]
      excess = self._pop_excess()
    del excess  # Closes them, outside the lock.
    return reader

  def _give_back(self, shard: int, reader) -> None:
    with self._lock:
      self._num_busy -= 1
      if reader is not None:
        self._idle.append((shard, reader))
      excess = self._pop_excess()
    del excess

  def _pop_excess(self) -> list:
    """Takes out what was not used for longest."""
    most = max(0, MAX_OPEN_SHARDS - self._num_busy)
    count = max(0, len(self._idle) - most)
    excess, self._idle[:count] = self._idle[:count], []
    return excess

  def __getstate__(self) -> dict:
    return {"_paths": self._paths, "_ends": self._ends}

  def __setstate__(self, state: dict) -> None:
    self.__dict__.update(state)
    self._start()


class ShardRecords:
  """The records of some shards of a corpus, each compared with its hash.

  When a record of a shard is first asked for, the shard's index is read and
  compared with its hash in the manifest, and the record with the index. So a
  shard that lies where another one belongs is noticed at its first record.
  Indices of `MAX_KEPT` records are kept, 32 bytes a record, and compared with
  all later records of their shards.
  """

  def __init__(self, directory: str | os.PathLike, shards: Sequence[Mapping]):
    """Opens nothing yet.

    Args:
      directory: of the corpus.
      shards: their entries of the manifest.
    """
    self._directory = os.fspath(directory)
    self._reader = ShardReader(
      [storage.join(directory, shard["file"]) for shard in shards],
      [shard["num_records"] for shard in shards],
    )
    names = ("num_records", "index", "index_sha256")
    self._shards = [{name: shard[name] for name in names} for shard in shards]
    self._hashes = {}  # Of shards that were looked at; None: not kept.
    self._num_kept = 0

  def __len__(self) -> int:
    return len(self._reader)

  def __getitem__(self, index: int) -> records.Record:
    """Reads one record.

    Raises:
      ImageDecodeError: the image's bytes are others than its hash says.
      ShardReadError: the shard or its index cannot be read, or is not the one
        that the manifest lists.
    """
    record = self._decode(index)
    shard, position = self._reader.locate(index)
    path = self.location(index)
    base.check_content(record, f"{path}: record {position}")
    is_new = shard not in self._hashes
    hashes = self._read_hashes(shard) if is_new else self._hashes[shard]
    if hashes is None:
      return record
    expected = hashes[position].tobytes().hex()
    if record.content_hash != expected:
      raise base.ShardReadError(
        f"{path}: record {position} has content_hash "
        f"{record.content_hash[:12]}, its index says {expected[:12]}: this is "
        "another shard than the manifest lists; copy it again."
      )
    if is_new:
      is_kept = self._num_kept + len(hashes) <= MAX_KEPT
      self._num_kept += len(hashes) * is_kept
      self._hashes[shard] = hashes if is_kept else None
    return record

  def name(self, index: int) -> str:
    """The record's name; if it cannot be read, where it lies."""
    try:
      return self._decode(index).name
    except base.ShardReadError:
      file = os.path.basename(self.location(index))
      return f"{file}: record {self._reader.locate(index)[1]}"

  def location(self, index: int) -> str:
    return self._reader.location(index)

  def _decode(self, index: int) -> records.Record:
    data = self._reader[index]
    try:
      return records.decode_record(data)
    except ValueError as error:
      raise base.ShardReadError(
        f"record {index}: {self.location(index)}: {error}"
      ) from error

  def _read_hashes(self, shard: int) -> np.ndarray:
    entry = self._shards[shard]
    try:
      return indices.read_index(self._directory, entry)["content_hash"]
    except (OSError, ValueError) as error:
      path = storage.join(self._directory, entry["index"])
      raise base.ShardReadError(f"{path}: {error}") from error

  def __getstate__(self) -> dict:
    return {**self.__dict__, "_hashes": {}, "_num_kept": 0}


class ArrayRecordSource(ShardRecords):
  """A corpus written by `data_pipelines.build_corpus`.

  The manifest gives shard names and counts, so a shard is first opened when
  one of its records is asked for.

  Raises:
    ValueError: the manifest is unreadable, of another format, too new, or not
      as it was written.
    ShardReadError: a shard or an index is missing, or a shard's size is not
      the manifest's.
  """

  def __init__(self, directory: str | os.PathLike):
    manifest = manifests.read_manifest(directory)
    self._identity = manifest["content_hash"]
    shards = manifest["shards"]
    sizes = {shard["file"]: shard["num_bytes"] for shard in shards}
    check_shards(directory, sizes | {shard["index"]: None for shard in shards})
    super().__init__(directory, shards)

  def identity(self) -> str:
    return self._identity
