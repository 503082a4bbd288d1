"""From labelled images to a corpus: one pass, a shard at a time.

Each finished shard has a JSON file of what is needed to go on behind it, so
an interrupted build continues there.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import json
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence

from data_pipelines.annotated import opening
from data_pipelines.building import dedup, packing, workspace
from data_pipelines.common import images, jsonl, progress, storage, worker_pool
from data_pipelines.corpus import records
from data_pipelines.sources import mixture

_LISTS = (dedup.REJECTED, dedup.DUPLICATES)


def pack(
  places: Sequence[str],
  output: str | os.PathLike,
  *,
  shard_size: int,
  num_workers: int = 0,
) -> dict:
  """Packs labelled images into a corpus, or continues to.

  An image that cannot be used is listed in rejected.jsonl, one whose bytes
  an earlier one has in duplicates.jsonl; its labels are not kept.

  Args:
    places: as `open_annotated` takes them; packed in this order.
    output: directory to make, on a disk.
    shard_size: records a shard.
    num_workers: processes; 0 works in this one.

  Returns:
    The manifest.

  Raises:
    ValueError: a place cannot be opened, no usable image, a bad argument, or
      something else is at the output.
    OSError: something cannot be read or written, or a worker was ended; what
      is done so far is kept, the same call continues.
    ShardReadError: as OSError.
  """
  if shard_size < 1:
    raise ValueError(f"shard_size={shard_size} must be at least 1.")
  workers = worker_pool.WorkerPool(num_workers)
  if storage.is_remote(output):
    raise ValueError(
      f"{output}: the output must be on a disk; build it there, then copy it."
    )
  workspace.check_free(pathlib.Path(output))
  _open_places.cache_clear()  # Files may be others now.
  source = _open_places(tuple(places))
  arguments = {
    "inputs": list(places),
    "shard_size": shard_size,
    "version": records.VERSION,
    "inputs_hash": _hash_inputs(source, shard_size),
  }
  with workspace.open_building(output, arguments) as root, workers:
    done = _Done(root)
    with progress.Progress("packing", len(source), "img") as shown:
      shown.advance(done.num_read)
      jobs = range(done.num_read, len(source))
      read = functools.partial(_read_record, tuple(places))
      found = _keep(workers.map(read, jobs), done, shown)
      for first in found:
        shard = itertools.chain(
          [first], itertools.islice(found, shard_size - 1)
        )
        _write_shard(root, done, shard)
    return _finish(root, done, len(source), arguments["inputs_hash"])


class _Done:
  """What is read so far, and what became of it.

  Attributes:
    shards: the manifest's entries, with file names for the time being.
    num_read: images.
    names: content hash -> name of each record.
    left_out: file -> its lines.
  """

  def __init__(self, root: pathlib.Path):
    """Takes over the finished shards of an earlier run."""
    self._root = root
    self.shards, self.num_read, self.names = [], 0, {}
    self.left_out = {name: [] for name in _LISTS}
    while (path := self._state_path()).exists():
      state = workspace.read_json(path)
      self.shards.append(state["shard"])
      self.num_read = state["num_read"]
      self.names.update(state["names"])
      for name in _LISTS:
        self.left_out[name] += state[name]
    self._start_state()

  def keep(self, record: records.Record) -> None:
    """Notes a record of the shard that is written."""
    self.names[record.content_hash] = record.name
    self._state["names"][record.content_hash] = record.name

  def leave_out(self, file: str, line: dict) -> None:
    """Notes a line of one of the lists."""
    self.left_out[file].append(line)
    self._state[file].append(line)

  def finish_shard(self, shard: dict) -> None:
    """Writes all that a later run must know to go on behind a shard."""
    state = {**self._state, "shard": shard, "num_read": self.num_read}
    workspace.write_json(self._root, self._state_path(), state)
    self.shards.append(shard)
    self._start_state()

  def _start_state(self) -> None:
    self._state = {"names": {}, **{name: [] for name in _LISTS}}

  def _state_path(self) -> pathlib.Path:
    return self._root / "shards" / f"{len(self.shards):05}.json"


def _keep(
  read: Iterable[records.Record | dict],
  done: _Done,
  shown: progress.Progress,
) -> Iterator[records.Record]:
  """The usable records, each image once; notes the others."""
  for found in read:
    done.num_read += 1
    shown.advance()
    if isinstance(found, dict):
      done.leave_out(dedup.REJECTED, found)
    elif found.content_hash in done.names:
      same = {"name": found.name, "same_as": done.names[found.content_hash]}
      done.leave_out(dedup.DUPLICATES, same)
    else:
      done.keep(found)
      yield found


def _write_shard(
  root: pathlib.Path, done: _Done, found: Iterable[records.Record]
) -> None:
  stem = root / "shards" / f"{len(done.shards):05}"
  file, index = stem.with_suffix(".array_record"), stem.with_suffix(".npz")
  done.finish_shard(
    packing.write_records(root, file, index, found, packing.LABELLED_OPTIONS)
  )


def _finish(
  root: pathlib.Path, done: _Done, num_images: int, inputs_hash: str
) -> dict:
  """Gives all files their last names; returns the manifest."""
  rejected = done.left_out[dedup.REJECTED]
  if not done.shards:
    shown = "; ".join(
      f"{row['name']}: {row['reason']} ({row['detail']})"
      for row in rejected[:3]
    )
    raise workspace.InputError(
      f"none of {num_images} labelled images is usable: {shown}"
    )
  corpus = root / workspace.CORPUS
  for number, shard in enumerate(done.shards):
    names = packing.shard_names(number, len(done.shards))
    for key, name in zip(("file", "index"), names):
      place = root / "shards" / shard[key]
      if place.exists():  # Else an earlier run came so far.
        os.replace(place, corpus / name)
      shard[key] = name
  entries = {}
  for name, lines in done.left_out.items():
    with workspace.whole_file(root, corpus / name) as file:
      for row in lines:
        file.write(jsonl.to_line(row).encode("utf-8", "backslashreplace"))
    sha256 = packing.hash_file(corpus / name)
    entries[name] = {"count": len(lines), "file": name, "sha256": sha256}
  reasons = collections.Counter(row["reason"] for row in rejected)
  entries[dedup.REJECTED]["by_reason"] = dict(sorted(reasons.items()))
  summary = dedup.Summary(len(done.names), *map(entries.get, _LISTS))
  return packing.write_manifest(root, done.shards, summary, inputs_hash)


@functools.lru_cache(1)
def _open_places(places: tuple[str, ...]) -> mixture.Mixture:
  """Once in each process."""
  return mixture.Mixture([opening.open_annotated(place) for place in places])


def _read_record(places: tuple[str, ...], index: int) -> records.Record | dict:
  """One record; or a line of rejected.jsonl."""
  source = _open_places(places)
  try:
    record = source[index]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # PIL's, of files that are odd.
      images.decode_image(record.image)
  except images.ImageDecodeError as error:
    return {
      "name": source.name(index),
      "reason": error.reason,
      "detail": error.detail,
    }
  return record


def _hash_inputs(source: mixture.Mixture, shard_size: int) -> str:
  digest = hashlib.sha256(f"{records.VERSION} {shard_size}\n".encode())
  for index in range(len(source)):
    digest.update(json.dumps(source.name(index)).encode())
  return digest.hexdigest()
