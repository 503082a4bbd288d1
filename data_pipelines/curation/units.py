"""The unit of work: a shard of the pool in, one file of scores out.

The file appears whole or not at all, and its name says what it was made of
and by, so one that is there is not made again. Each image is decoded once for
all scorers of a pass. One that cannot be decoded is a row with its reason.

An image may also end its process, or never come back. A unit that was begun
twice and never finished is scored image by image in processes that are thrown
away; what ends two of them becomes a row with the reason "quarantined".
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import pickle
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence

import cv2

from data_pipelines.common import files, images, packages
from data_pipelines.corpus import records
from data_pipelines.curation import child, pool, tables
from data_pipelines.curation.scorers.base import Image, Scorer

QUARANTINED = "quarantined"
BOXES = "boxes"  # Columns whose name ends so hold person boxes, flat.
BLOCK = 2**20  # Rows of a table that are held together.
VERSION = 1  # Of the rows; another number makes all files anew.
_MAX_DEATHS = 2  # Of a unit, then of an image.
_MAX_PIXELS = 2**26  # Of the images that are in memory together.
FIXED = {
  "shard": "string",
  "row": "int32",
  "name": "string",
  "content_hash": "string",
  "key": "string",
  "reason": "string",
  "detail": "string",
  "height": "int32",
  "width": "int32",
  "num_bytes": "int64",
}
Row = dict


class ScorerError(RuntimeError):
  """A scorer raised, or said something that is not one of its columns."""


@dataclasses.dataclass(frozen=True)
class Unit:
  """One shard, for one pass.

  Attributes:
    shard: what to score.
    rows: numbers of the rows, None for all.
    earlier: the file of the pass before, whose columns scorers may see.
  """

  shard: pool.Shard
  rows: tuple[int, ...] | None = None
  earlier: str = ""


@dataclasses.dataclass(frozen=True)
class ScoreShards:
  """Makes the files of one pass; picklable, called for each unit.

  Attributes:
    scorers: in order; each sees the columns of those before.
    scores: directory of the files.
    attempts: directory for marks of units that are begun.
    batch_size: images that a scorer gets at most at a time.
    seconds: after which one image counts as hanging, its process dies.
  """

  scorers: tuple[Scorer, ...]
  scores: pathlib.Path
  attempts: pathlib.Path
  batch_size: int = 16
  seconds: float = 120.0

  @functools.cached_property
  def fingerprints(self) -> dict[str, str]:
    """Of each scorer by its name."""
    return {scorer.name: scorer.fingerprint() for scorer in self.scorers}

  @functools.cached_property
  def columns(self) -> dict[str, str]:
    """The columns of all scorers, with prefix, and their types."""
    return {
      f"{scorer.name}_{column}": kind
      for scorer in self.scorers
      for column, kind in scorer.columns.items()
    }

  def path(self, unit: Unit) -> pathlib.Path:
    """The file that a unit becomes."""
    before = pathlib.Path(unit.earlier).name
    made_of = [VERSION, self.fingerprints, unit.rows, before]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    return self.scores / f"{unit.shard.id}-{digest}.parquet"

  def load(self) -> None:
    """Opens the scorers' models, once in each process."""
    cv2.setNumThreads(0)  # There is a process for each core.
    # What is open may not be picklable, and another process may need this.
    self.__dict__["_unopened"] = pickle.dumps(self)
    for scorer in self.scorers:
      scorer.load()

  def __call__(self, unit: Unit) -> None:
    """Makes the file of a unit, unless it is there.

    Raises:
      OSError: the shard cannot be read, or the file not be written.
      ValueError: the shard is none, or all of its images are quarantined.
    """
    path = self.path(unit)
    if path.exists():
      return
    mark = self.attempts / path.stem
    self.attempts.mkdir(parents=True, exist_ok=True)
    with open(mark, "ab") as file:
      begun = file.tell()
      file.write(b"x")
    try:
      try:
        is_deadly = begun >= _MAX_DEATHS
        rows = self._score_apart(unit) if is_deadly else list(self.score(unit))
      except ScorerError:
        rows = self._score_apart(unit)
      self._write(path, unit, rows)
    except Exception:
      os.truncate(mark, begun)  # That was no death.
      raise
    mark.unlink(missing_ok=True)

  def score(
    self,
    unit: Unit,
    numbers: Sequence[int] | None = None,
    batch_size: int | None = None,
  ) -> Iterator[Row]:
    """The rows of a unit in order, or of some numbers only.

    Raises:
      ScorerError: see above; the images before have been yielded, if
        batch_size is 1.
    """
    opened = pool.open_shard(unit.shard)
    earlier = _read_earlier(unit.earlier)
    if numbers is None:
      numbers = _numbers(unit, opened)
      if unit.rows is None:
        opened.left_out.report(unit.shard.path)
    batch_size = batch_size or self.batch_size
    waiting, pixels = [], 0
    for number in numbers:
      with _deadline(self.seconds), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's, of files that are odd.
        row, image = _decode(unit.shard, opened, number)
      waiting.append((row, image))
      pixels += 0 if image is None else image.size // 3
      if len(waiting) >= batch_size or pixels >= _MAX_PIXELS:
        yield from self._score_batch(waiting, earlier)
        waiting, pixels = [], 0
    yield from self._score_batch(waiting, earlier)

  def _score_batch(
    self, batch: list[tuple[Row, Image | None]], earlier: dict
  ) -> list[Row]:
    usable = [(row, image) for row, image in batch if image is not None]
    known = [dict(earlier.get(row["row"], {})) for row, _ in usable]
    found = [image for _, image in usable]
    for scorer in self.scorers if usable else ():
      try:
        with _deadline(self.seconds * len(usable)):
          answers = scorer.score(found, known)
          columns = [name_columns(scorer, answer) for answer in answers]
        if len(columns) != len(found):
          raise ValueError(f"{len(columns)} answers for {len(found)} images")
      except Exception as error:
        kind = type(error).__name__
        raise ScorerError(f"{scorer.name}: {kind}: {error}") from error
      for (row, _), earlier_of, new in zip(usable, known, columns):
        row.update(new)
        earlier_of.update(new)
    return [row for row, _ in batch]

  def _score_apart(self, unit: Unit) -> list[Row]:
    """Scores image by image, in processes that may die."""
    opened = pool.open_shard(unit.shard)
    left = list(_numbers(unit, opened))
    unopened = self.__dict__.get("_unopened") or pickle.dumps(self)
    rows, deaths = [], 0
    while left:
      reason, done = None, 0
      try:
        for row in child.stream(_score_each, unopened, unit, left):
          rows.append(row)
          done += 1
      except child.Died as error:
        reason = str(error)
      left = left[done:]
      deaths = deaths + 1 if reason and not done else int(reason is not None)
      if deaths == _MAX_DEATHS:
        row = _empty_row(unit.shard, left.pop(0), opened)
        rows.append({**row, "reason": QUARANTINED, "detail": reason})
        deaths = 0
    bad = [row for row in rows if row["reason"] == QUARANTINED]
    if len(bad) > 2 and len(bad) == sum(
      row["reason"] in (None, QUARANTINED) for row in rows
    ):
      raise ValueError(
        f"{unit.shard.path}: no image could be scored; the first, "
        f"{bad[0]['name']}: {bad[0]['detail']}"
      )
    return rows

  def _write(self, path: pathlib.Path, unit: Unit, rows: Iterable[Row]) -> None:
    arrow = packages.require("pyarrow", "curation")
    types = {**FIXED, **self.columns}
    metadata = {
      "version": str(VERSION),
      "scorers": json.dumps(self.fingerprints),
      "shard": json.dumps(dataclasses.asdict(unit.shard)),
    }
    schema = arrow.schema(
      [(name, arrow_type(arrow, kind)) for name, kind in types.items()],
      metadata=metadata,
    )
    table = arrow.Table.from_pylist(list(rows), schema=schema)
    with files.whole_path(path) as partial:
      tables.write(table, partial, compression="zstd")


def _numbers(unit: Unit, opened: pool.ShardRows) -> Sequence[int]:
  return range(len(opened)) if unit.rows is None else unit.rows


def _score_each(
  unopened: bytes, unit: Unit, numbers: list[int]
) -> Iterator[Row]:
  """Scores one image after the other; a scorer's error is the image's."""
  task = pickle.loads(unopened)
  task.load()
  opened = None
  for number in numbers:
    try:
      yield from task.score(unit, [number], 1)
    except ScorerError as error:
      opened = opened or pool.open_shard(unit.shard)
      row = _empty_row(unit.shard, number, opened)
      yield {**row, "reason": QUARANTINED, "detail": str(error)}


def _empty_row(shard: pool.Shard, number: int, opened: pool.ShardRows) -> Row:
  row = dict.fromkeys(FIXED)
  return {**row, "shard": shard.id, "row": number, "name": opened.name(number)}


def _decode(shard: pool.Shard, opened: pool.ShardRows, number: int):
  """A row without scores, and its image, None if there is none."""
  row = _empty_row(shard, number, opened)
  try:
    record = opened.read(number)
    image = images.decode_image(record.image)
  except images.ImageDecodeError as error:
    return {**row, "reason": error.reason, "detail": error.detail}, None
  height, width, _ = image.shape
  record = dataclasses.replace(record, height=height, width=width)
  row.update(
    name=record.name,
    content_hash=record.content_hash,
    key=f"{hash_known(record)} {shard.id} {number:09}",
    height=height,
    width=width,
    num_bytes=len(record.image),
  )
  return row, image


def hash_known(record: records.Record) -> str:
  """Hash of all that a record holds beside its image and scores.

  Of records with one image the one with the least is kept, so neither order
  nor file names decide; records with the same hash are the same.
  """
  bare = dataclasses.replace(record, image=b"", scores={})
  return hashlib.sha256(records.encode_record(bare)).hexdigest()[:32]


def split_key(key: str) -> tuple[str, int]:
  """The shard and the row in a row's `key`."""
  _, shard, row = key.split(" ")
  return shard, int(row)


def name_columns(scorer: Scorer, answer: dict) -> dict:
  """What a scorer says of an image, with its prefix.

  Raises:
    ValueError: it has other columns than it declares, or one is not finite.
  """
  if set(answer) != set(scorer.columns):
    raise ValueError(
      f"columns {', '.join(sorted(answer))}, expected "
      f"{', '.join(sorted(scorer.columns))}"
    )
  for column, value in answer.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f"{column} is {value}; None is for what is not known")
  return {f"{scorer.name}_{column}": x for column, x in answer.items()}


def _read_earlier(path: str) -> dict[int, dict]:
  if not path:
    return {}
  rows = tables.read(path).to_pylist()
  return {
    row["row"]: {k: v for k, v in row.items() if k not in FIXED} for row in rows
  }


def arrow_type(arrow, kind: str):
  """The type of Arrow for the name of one."""
  if kind == "list<float32>":
    return arrow.list_(arrow.float32())
  return getattr(arrow, {"bool": "bool_"}.get(kind, kind))()


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
  """Kills this process if the block takes longer, even in a library."""
  signal.setitimer(signal.ITIMER_REAL, seconds)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
