"""From labelled images to a corpus: one pass, a shard at a time.

Each finished shard has a JSON file of what is needed to continue after it, so
an interrupted build goes on there.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence

from data_pipelines.annotated import opening
from data_pipelines.building import listing, workspace
from data_pipelines.building.workspace import Building
from data_pipelines.common import files, images, progress, worker_pool
from data_pipelines.corpus import records, writer
from data_pipelines.corpus.manifest import ShardEntry
from data_pipelines.sources import mixture

_LISTS = (writer.REJECTED, writer.DUPLICATES)


def pack(
  specs: Sequence[str],
  output: str | os.PathLike,
  *,
  shard_size: int,
  num_workers: int = 0,
) -> dict:
  """Packs labelled images into a corpus, or continues to.

  An image that cannot be used is listed in rejected.jsonl, one whose bytes
  an earlier one has in duplicates.jsonl; its labels are not kept.

  Args:
    specs: as `open_annotated` takes them; packed in this order.
    output: directory to make, on a disk.
    shard_size: records a shard.
    num_workers: processes; 0 works in this one.

  Returns:
    The manifest.

  Raises:
    ValueError: a dataset cannot be opened, no usable image, a bad argument, or
      something else is at the output.
    OSError, ShardReadError: something cannot be read or written, or a worker
      was ended; what is done so far is kept, the same call continues.
  """
  if shard_size < 1:
    raise ValueError(f"shard_size={shard_size} must be at least 1.")
  workers = worker_pool.WorkerPool(num_workers)
  workspace.check_local(output)
  workspace.check_free(pathlib.Path(output))
  _open_specs.cache_clear()  # Files may be others now.
  source = _open_specs(tuple(specs))
  for part in source.sources:
    opening.announce(part)
  arguments = {
    "inputs": list(specs),
    "shard_size": shard_size,
    "version": records.VERSION,
    "inputs_hash": _hash_inputs(tuple(specs), shard_size),
  }
  with workspace.open_building(output, arguments) as building, workers:
    done = _Done(building)
    with progress.Progress("packing", len(source), "img") as shown:
      shown.advance(done.num_read)
      jobs = range(done.num_read, len(source))
      read = functools.partial(_read_record, tuple(specs))
      found = _keep(workers.map(read, jobs), done, shown)
      for first in found:
        rest = itertools.islice(found, shard_size - 1)
        # Nobody knows yet how many shards there will be.
        shard_id = f"{len(done.states) - 1:05}"
        shard = itertools.chain([first], rest)
        done.finish_shard(
          writer.write_shard(
            building.root / "shards", shard_id, shard, compress=True
          )
        )
    return _finish(building, done, len(source), arguments["inputs_hash"])


def find_complete(
  specs: Sequence[str], output: str | os.PathLike, *, shard_size: int
) -> dict | None:
  """Looks for a corpus that was packed from the same specs before.

  Options, names of images and files of annotations are compared, not label
  images.

  Returns:
    Its manifest, None if there is no corpus.

  Raises:
    ValueError: it was packed from something else, a dataset cannot be opened,
      or the output is not on a disk.
  """
  workspace.check_local(output)
  _open_specs.cache_clear()  # Files may be others now.
  return workspace.find_complete(
    output,
    lambda: _hash_inputs(tuple(specs), shard_size),
    "packed from other inputs or another shard_size",
  )


def _hash_inputs(specs: tuple[str, ...], shard_size: int) -> str:
  """Of names of images, formats, options, size and time of annotations."""
  source = _open_specs(specs)
  parsed = [opening.parse_spec(spec) for spec in specs]
  paths = [path for _, path, _ in parsed]
  stamps = [listing.stamp(p).decode() for p in paths if os.path.isfile(p)]
  chosen = [[name, sorted(options.items())] for name, _, options in parsed]
  names = map(source.name, range(len(source)))
  found = itertools.chain(names, stamps, chosen)
  return workspace.hash_inputs(shard_size, found)


class _Done:
  """How far a build has come, and what it has found.

  Attributes:
    states: of each shard what a later run must know to continue after it; the
      last one is of the shard that is being written.
    num_read: images.
    names: content hash -> name of each record.
  """

  def __init__(self, building: Building):
    """Takes over the finished shards of an earlier run."""
    self._directory = building.root / "shards"
    self.states, self.num_read, self.names = [], 0, {}
    self._start_state()
    while (path := self._state_path()).exists():
      self.states[-1] = files.read_json(path)
      self.num_read = self.states[-1]["num_read"]
      self.names.update(self.states[-1]["names"])
      self._start_state()

  def keep(self, record: records.Record) -> None:
    """Remembers a record of the shard that is being written."""
    for names in (self.names, self.states[-1]["names"]):
      names[record.content_hash] = record.name

  def leave_out(self, file: str, line: dict) -> None:
    """Remembers a line of one of the lists."""
    self.states[-1][file].append(line)

  def left_out(self, file: str) -> list[dict]:
    """The lines of one of the lists."""
    return [line for state in self.states for line in state[file]]

  def finish_shard(self, shard: ShardEntry) -> None:
    """Writes what a later run must know to continue after a shard."""
    entry = dataclasses.asdict(shard)
    self.states[-1] |= {"shard": entry, "num_read": self.num_read}
    files.write_json(self._state_path(), self.states[-1])
    self._start_state()

  def _start_state(self) -> None:
    self.states.append({"names": {}, **{name: [] for name in _LISTS}})

  def _state_path(self) -> pathlib.Path:
    return self._directory / f"{len(self.states) - 1:05}.json"


def _keep(
  read: Iterable[records.Record | dict], done: _Done, shown: progress.Progress
) -> Iterator[records.Record]:
  """Gives the usable records, each image once; `done` learns of the others."""
  for found in read:
    done.num_read += 1
    shown.advance()
    if isinstance(found, dict):
      done.leave_out(writer.REJECTED, found)
    elif found.content_hash in done.names:
      same = {"name": found.name, "same_as": done.names[found.content_hash]}
      done.leave_out(writer.DUPLICATES, same)
    else:
      done.keep(found)
      yield found


def _finish(
  building: Building, done: _Done, num_images: int, inputs_hash: str
) -> dict:
  """Gives the files their final names; returns the manifest."""
  rejected = done.left_out(writer.REJECTED)
  shards = [ShardEntry(**state["shard"]) for state in done.states[:-1]]
  if not shards:
    shown = "; ".join(
      f"{row['name']}: {row['reason']} ({row['detail']})"
      for row in rejected[:3]
    )
    raise workspace.InputError(
      f"none of {num_images} labelled images is usable: {shown}"
    )
  entries = []
  for number, shard in enumerate(shards):
    shard_id = writer.number_shard(number, len(shards))
    file, index = writer.shard_files(shard_id)
    for old, new in ((shard.file, file), (shard.index, index)):
      path = building.root / "shards" / old
      if path.exists():  # Else an earlier run came so far.
        os.replace(path, building.corpus / new)
    entries.append(dataclasses.replace(shard, file=file, index=index))
  _announce(rejected)
  duplicates = done.left_out(writer.DUPLICATES)
  provenance = {"inputs_hash": inputs_hash}
  return writer.commit(
    building.corpus, entries, rejected, duplicates, provenance
  )


def _announce(rejected: list[dict]) -> None:
  """Says on stderr why images are left out, with one of each reason."""
  by_reason = collections.Counter(row["reason"] for row in rejected)
  for reason, count in by_reason.items():
    first = next(row for row in rejected if row["reason"] == reason)
    shown = f"such as {first['name']}: {first['detail']}"
    print(f"rejected {count}: {reason}, {shown}", file=sys.stderr, flush=True)


@functools.lru_cache(1)
def _open_specs(specs: tuple[str, ...]) -> mixture.Mixture:
  """Opens the datasets, once in each process."""
  return mixture.Mixture([opening.open_annotated(spec) for spec in specs])


def _read_record(specs: tuple[str, ...], index: int) -> records.Record | dict:
  """Reads a record; of an unusable image, a line of rejected.jsonl."""
  source = _open_specs(specs)
  try:
    record = source[index]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # PIL's, of files that are odd.
      images.decode_image(record.image)
  except images.ImageDecodeError as error:
    known = {"reason": error.reason, "detail": error.detail}
    return {"name": source.name(index), **known}
  return record
