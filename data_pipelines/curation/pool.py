"""The pool: what is curated, cut into shards that never change.

A tar and a shard of a corpus are shards as they are. Files of a folder are
gathered into lists, which are kept: a file that is listed stays in its list,
and new files make new lists. So a pool that grew only has more shards.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from data_pipelines.building import listing, scan
from data_pipelines.common import files, images, kinds, storage, tars
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records
from data_pipelines.sources import array_record, base, folder

_CORPUS, _FILES, _TAR = "corpus", "files", "tar"


@dataclasses.dataclass(frozen=True)
class Shard:
  """Some images of the pool, a unit of work.

  Attributes:
    kind: "tar", "corpus" (a shard of one) or "files" (of a folder).
    path: of the tar, the corpus shard or the folder; or a URL.
    stamp: changes if the content does.
    num_rows: images in it; of a tar nobody knows before it is read: None.
    listing: file that lists its files, "" if it is no folder.
  """

  kind: str
  path: str
  stamp: str
  num_rows: int | None = None
  listing: str = ""

  @functools.cached_property
  def id(self) -> str:
    """Names it in tables and files."""
    # A corpus is known by what it holds, wherever it lies.
    path = "" if self.kind == _CORPUS else self.path
    text = json.dumps([self.kind, path, self.stamp])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclasses.dataclass(frozen=True)
class Pool:
  """All shards, and rows of them that are not there any more."""

  shards: tuple[Shard, ...]
  gone: dict[str, frozenset[int]]  # Id of a shard -> its rows.


def open_pool(
  inputs: Sequence[str | os.PathLike],
  lists: pathlib.Path,
  files_per_shard: int,
) -> Pool:
  """Finds the shards of corpora, tars, globs of tars and folders.

  Args:
    inputs: paths or URLs.
    lists: directory for the lists of files.
    files_per_shard: of new lists.

  Raises:
    ValueError: no such input, one given twice, or none has an image.
    OSError: one cannot be read.
  """
  shards, gone, others = [], {}, []
  for given in map(os.fspath, inputs):
    if manifests.is_corpus(given):
      shards += _list_corpus(given)
    else:
      others.append(given)
  for unit in listing.find_units(others) if others else ():
    if unit.is_tar:
      shards.append(Shard(_TAR, unit.path, listing.stamp(unit.path).decode()))
      continue
    for shard, rows in _list_folder(unit.path, lists, files_per_shard):
      shards.append(shard)
      if rows:
        gone[shard.id] = rows
  if not shards:
    raise ValueError(f"{', '.join(map(os.fspath, inputs))}: no images.")
  by_id = {shard.id: shard for shard in shards}
  if len(by_id) < len(shards):
    repeated = next(s for s in shards if by_id[s.id] is not s)
    raise ValueError(f"{repeated.path}: given twice.")
  return Pool(tuple(by_id[name] for name in sorted(by_id)), gone)


def open_shard(shard: Shard) -> ShardRows:
  """Opens a shard to read its rows.

  Raises:
    ValueError, OSError: it cannot be read.
  """
  return _OPENERS[shard.kind](shard)


class ShardRows:
  """The images of a shard, by row.

  Attributes:
    left_out: files of a tar that are no images.
  """

  def __init__(
    self,
    names: Sequence[str],
    locations: Sequence[tuple],
    left_out: kinds.LeftOut | None = None,
  ):
    self._names, self._locations = names, locations
    self.left_out = left_out or kinds.LeftOut()

  def __len__(self) -> int:
    return len(self._names)

  def name(self, row: int) -> str:
    """The path in its folder or tar, for messages."""
    return self._names[row]

  def read(self, row: int) -> records.Record:
    """Reads an image with what is known beside it; decodes its header.

    Raises:
      ImageDecodeError: this one image is unusable.
      OSError: it cannot be read now, or has changed.
    """
    location, metadata_location = self._locations[row]
    try:
      image = scan.read_image(location)
    except scan.ChangedError as error:
      where = folder.show_path(location.path)
      raise OSError(f"{where}: {self.name(row)}: {error}") from error
    known = scan.read_metadata(metadata_location) if metadata_location else {}
    record = base.make_image_record(image, self.name(row))
    return dataclasses.replace(record, **_as_tuples(known))


class _CorpusRows(ShardRows):
  """The records of one shard of a corpus."""

  def __init__(self, shard: Shard):
    directory, self._file = os.path.split(shard.path)
    path = storage.join(directory, manifests.NAME)
    entry = _read_entries(directory, listing.stamp(path)).get(self._file)
    if entry is None or entry["sha256"] != shard.stamp:
      raise OSError(f"{shard.path}: the corpus is another one by now.")
    self._records = array_record.ShardRecords(directory, [entry])
    self.left_out = kinds.LeftOut()  # A corpus holds images alone.

  def __len__(self) -> int:
    return len(self._records)

  def name(self, row: int) -> str:
    return f"{self._file}: record {row}"

  def read(self, row: int) -> records.Record:
    try:
      record = self._records[row]
    except base.ShardReadError as error:
      raise OSError(str(error)) from error
    images.image_size(record.image)
    return record


def _as_tuples(known: dict) -> dict:
  boxes = known.get("person_boxes")
  return known if boxes is None else {**known, "person_boxes": _boxes(boxes)}


def _boxes(boxes: list) -> tuple:
  return tuple(map(tuple, boxes))


def _list_corpus(directory: str) -> list[Shard]:
  return [
    Shard(
      _CORPUS,
      storage.join(listing.absolute(directory), shard["file"]),
      shard["sha256"],
      shard["num_records"],
    )
    for shard in manifests.read_manifest(directory)["shards"]
  ]


@functools.lru_cache(8)
def _read_entries(directory: str, stamp: bytes) -> Mapping[str, dict]:
  """The shards of a corpus by file; read again if the stamp is another."""
  shards = manifests.read_manifest(directory)["shards"]
  return {shard["file"]: shard for shard in shards}


def _list_folder(
  root: str, lists: pathlib.Path, files_per_shard: int
) -> list[tuple[Shard, frozenset[int]]]:
  """The shards of a folder, each with the rows that are not there any more."""
  left_out = kinds.LeftOut()
  left = {
    path: (listing.stamp(whole) + listing.stamp(beside)).decode()
    for path in folder.list_images(root, left_out)
    for whole in [storage.join(root, path)]
    for beside in [listing.metadata_path(whole)]
  }
  left_out.report(folder.show_path(root))
  found = []
  for file in sorted(lists.glob("*.json")):
    listed = files.read_json(file)
    if listed["root"] != root:
      continue
    rows = listed["rows"]
    gone = {
      row for row, (path, stamp) in enumerate(rows) if left.get(path) != stamp
    }
    for row, (path, _) in enumerate(rows):
      if row not in gone:
        del left[path]
    if len(gone) < len(rows):
      found.append((_make_list(root, rows, lists), frozenset(gone)))
  new = [[path, stamp] for path, stamp in left.items()]
  for start in range(0, len(new), files_per_shard):
    rows = new[start : start + files_per_shard]
    shard = _make_list(root, rows, lists)
    files.write_json(shard.listing, {"root": root, "rows": rows})
    found.append((shard, frozenset()))
  return found


def _make_list(root: str, rows: list, lists: pathlib.Path) -> Shard:
  stamp = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
  shard = Shard(_FILES, root, stamp, len(rows))
  return dataclasses.replace(shard, listing=str(lists / f"{shard.id}.json"))


def _open_files(shard: Shard) -> ShardRows:
  paths = [path for path, _ in files.read_json(shard.listing)["rows"]]
  wholes = [storage.join(shard.path, path) for path in paths]
  return ShardRows(
    list(map(folder.show_path, paths)),
    [
      (scan.Location(whole), scan.Location(listing.metadata_path(whole)))
      for whole in wholes
    ],
  )


def _open_tar(shard: Shard) -> ShardRows:
  left_out = kinds.LeftOut()
  members = list(tars.list_images(shard.path, left_out))
  return ShardRows(
    [folder.show_path(image.name) for image, _ in members],
    [
      (
        scan.Location(shard.path, image.start, image.size),
        known and scan.Location(shard.path, known.start, known.size),
      )
      for image, known in members
    ],
    left_out,
  )


_OPENERS = {_CORPUS: _CorpusRows, _FILES: _open_files, _TAR: _open_tar}
