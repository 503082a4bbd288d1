"""The kept rows become a corpus, through the one writer of corpora."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.common import files, storage
from data_pipelines.corpus import index as indices
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records, writer
from data_pipelines.curation import pool, running, tables, units
from data_pipelines.curation.engine import Engine

_PLACE = ("shard", "row")
_NO_SCORES = ("content_hash", "known_hash", "height", "width", *_PLACE)
_MAX_OPEN = 256  # Shards of the pool whose lists are kept in memory.


@dataclasses.dataclass(frozen=True)
class PackShards:
  """Writes shards of a corpus; picklable, called with their numbers.

  Attributes:
    selection: Parquet file of the kept rows; a row group is a shard.
    directory: of the corpus that is made.
    num_shards: of the corpus.
    shards: of the pool, by id.
  """

  selection: pathlib.Path
  directory: pathlib.Path
  num_shards: int
  shards: Mapping[str, pool.Shard]

  def load(self) -> None:
    """There is nothing to open."""

  def path(self, number: int) -> pathlib.Path:
    """The file that says that a shard is written."""
    return self.directory / "entries" / f"{number:06}.json"

  def __call__(self, number: int) -> None:
    """Writes a shard.

    Raises:
      OSError: an image cannot be read or is not what was scored, or the
        shard cannot be written.
    """
    entry = writer.write_shard(
      self.directory,
      writer.number_shard(number, self.num_shards),
      self._read(number),
    )
    files.write_json(self.path(number), dataclasses.asdict(entry))

  def _read(self, number: int) -> Iterator[records.Record]:
    opened = functools.lru_cache(_MAX_OPEN)(pool.open_shard)
    rows = tables.read_group(self.selection, number).to_pylist()
    for row in rows:
      shard = self.shards[row["shard"]]
      record = opened(shard).read(row["row"])
      if record.content_hash != row["content_hash"]:
        raise OSError(
          f"{shard.path}: {record.name}: has other bytes than were scored; "
          "run the same command again when the pool is at rest."
        )
      yield _with_scores(record, row)


def _with_scores(record: records.Record, row: dict) -> records.Record:
  scores, boxes = {}, record.person_boxes
  for name, value in row.items():
    if name.endswith(units.BOXES) and value is not None:
      boxes = tuple(tuple(value[i : i + 4]) for i in range(0, len(value), 4))
    elif isinstance(value, int | float) and name not in _NO_SCORES:
      scores[name] = int(value) if isinstance(value, bool) else value
  return dataclasses.replace(
    record,
    height=row["height"],
    width=row["width"],
    scores=scores,
    person_boxes=boxes,
  )


def pack(
  engine: Engine,
  output: pathlib.Path,
  selected,
  shards: Iterable[pool.Shard],
  *,
  shard_size: int,
  rejected: Sequence[Mapping[str, str]],
  duplicates: Sequence[Mapping[str, str]],
  provenance: Mapping[str, object],
) -> dict:
  """Makes `output`/corpus of the selected rows, or finds it made.

  The corpus that was there is replaced when the new one is complete, and
  what changed is said. A run that is killed is continued.

  Args:
    engine: writes the shards.
    output: of the whole curation.
    selected: what `Rows.select` returns, at least one row.
    shards: of the pool.
    shard_size: records a shard.
    rejected, duplicates, provenance: as `writer.commit` takes them.

  Returns:
    The manifest.

  Raises:
    OSError: see `PackShards` and `running.do_units`.
  """
  digest = _hash(selected, shard_size, rejected, duplicates, provenance)
  corpus = output / "corpus"
  old = manifests.read_manifest(corpus) if manifests.is_corpus(corpus) else {}
  if old.get("inputs_hash") == digest:
    return old
  made = output / f"packing-{digest[:16]}"
  for path in output.glob("packing-*"):
    if path != made:
      shutil.rmtree(path)
  selection = made / "selection.parquet"
  with files.whole_path(selection) as partial:
    tables.write(selected, partial, row_group_size=shard_size)
  num_shards = -(-selected.num_rows // shard_size)
  by_id = {shard.id: shard for shard in shards}
  job = PackShards(selection, made, num_shards, by_id)
  numbers = range(num_shards)
  running.do_units(engine, job, numbers, job.path, "packing")
  entries = [
    manifests.ShardEntry(**files.read_json(job.path(number)))
    for number in numbers
  ]
  manifest = writer.commit(
    made,
    entries,
    rejected,
    duplicates,
    {**provenance, "inputs_hash": digest},
  )
  print(_describe_change(corpus if old else None, made), flush=True)
  shutil.rmtree(made / "entries")
  selection.unlink()
  _swap(made, corpus)
  return manifest


def _hash(selected, shard_size: int, *others: object) -> str:
  """Of what the corpus is made of, wherever in the pool that lies."""
  digest = hashlib.sha256(f"{records.VERSION} {shard_size}\n".encode())
  rows = selected.drop_columns(list(_PLACE))
  for batch in rows.combine_chunks().to_batches():
    for row in batch.to_pylist():
      digest.update(repr(sorted(row.items())).encode())
  for other in others:
    digest.update(repr(other).encode())
  return digest.hexdigest()


def _describe_change(old: pathlib.Path | None, new: pathlib.Path) -> str:
  before, after = _read_hashes(old), _read_hashes(new)
  added = len(np.setdiff1d(after, before))
  removed = len(np.setdiff1d(before, after))
  return (
    f"corpus        {len(after)} records: {added} new, {removed} removed, "
    f"{len(after) - added} as before"
  )


def _read_hashes(corpus: pathlib.Path | None) -> np.ndarray:
  hashes = [np.empty(0, "S32")]
  if corpus is not None:
    for shard in manifests.read_manifest(corpus)["shards"]:
      try:
        index = indices.read_index(corpus, shard)
      except ValueError as error:
        path = storage.join(corpus, shard["index"])
        raise ValueError(f"{path}: {error}; remove {corpus}.") from error
      hashes.append(index["content_hash"].view("S32").ravel())
  return np.concatenate(hashes)


def _swap(made: pathlib.Path, corpus: pathlib.Path) -> None:
  previous = corpus.with_name("packing-previous")
  shutil.rmtree(previous, ignore_errors=True)
  if corpus.exists():
    os.replace(corpus, previous)
  os.replace(made, corpus)
  shutil.rmtree(previous, ignore_errors=True)
