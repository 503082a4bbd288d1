"""The table of all rows of the pool, gathered from the files of scores."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.common import files, packages
from data_pipelines.curation import units

_PLACE = ("shard", "row")


def _is_small(kind: str) -> bool:
  """Whether a column is held in memory for all rows."""
  return kind not in ("list<float32>", "binary")


class Rows:
  """One row an image, in the order of content: never that of the pool.

  Rows without content, which could not be read, come last, by name.
  """

  def __init__(
    self,
    task: units.ScoreShards,
    made: Sequence[units.Unit],
    gone: Mapping[str, frozenset[int]],
  ):
    """Reads the files of the first pass; `gone` rows are left out."""
    self._arrow = packages.require("pyarrow", "curation")
    self._files = {}
    table = self._read(task, made, list(units.FIXED))
    shards = table["shard"].to_pylist() if gone else ()
    numbers = table["row"].to_pylist() if gone else ()
    if gone:
      table = table.filter(
        [
          number not in gone.get(shard, ())
          for shard, number in zip(shards, numbers)
        ]
      )
    self._set(table)

  def _set(self, table) -> None:
    order = ["content_hash", "key", "name", "reason", "detail", *_PLACE]
    self.table = table.sort_by([(name, "ascending") for name in order])

  def _read(
    self,
    task: units.ScoreShards,
    made: Sequence[units.Unit],
    fixed: Sequence[str],
  ):
    parquet = packages.require("pyarrow.parquet", "curation")
    small = [name for name, kind in task.columns.items() if _is_small(kind)]
    paths = [task.path(unit) for unit in made]
    for name in set(task.columns) - set(small):
      self._files[name] = paths
    return self._arrow.concat_tables(
      parquet.read_table(path, columns=[*fixed, *small]) for path in paths
    )

  def add(self, task: units.ScoreShards, made: Sequence[units.Unit]) -> None:
    """Adds the columns of a later pass, which has not all rows."""
    new = self._read(task, made, [*_PLACE, "reason", "detail"])
    names = {"reason": "new_reason", "detail": "new_detail"}
    new = new.rename_columns([names.get(n, n) for n in new.column_names])
    table = self.table.join(new, keys=list(_PLACE), join_type="left outer")
    for name, later in names.items():
      both = packages.require("pyarrow.compute", "curation").coalesce(
        table[name], table[later]
      )
      index = table.column_names.index(name)
      table = table.set_column(index, name, both).drop_columns([later])
    self._set(table)

  def __len__(self) -> int:
    return self.table.num_rows

  def numbers(self, column: str) -> np.ndarray:
    """A column as float64; NaN where it is not known.

    Raises:
      ValueError: no such column, or none of numbers.
    """
    if column not in self.table.column_names:
      raise ValueError(
        f"{column}: no such column; known: {', '.join(self.table.column_names)}"
      )
    values = self.table[column]
    if self._arrow.types.is_boolean(values.type):
      values = values.cast("int8")
    try:
      values = values.cast("float64")
    except self._arrow.ArrowInvalid as error:
      raise ValueError(f"{column} is no column of numbers.") from error
    return values.to_numpy()

  def texts(self, column: str) -> list[str | None]:
    """A column of texts."""
    return self.table[column].to_pylist()

  def values(self, column: str, rows: np.ndarray) -> list:
    """A large column (vectors, bytes), of some rows only."""
    if column not in self._files:
      raise ValueError(
        f"{column}: no such column; known: {', '.join(sorted(self._files))}"
      )
    parquet = packages.require("pyarrow.parquet", "curation")
    shards, numbers = self.texts("shard"), self.table["row"].to_pylist()
    wanted = {(shards[row], numbers[row]): i for i, row in enumerate(rows)}
    found = [None] * len(rows)
    for path in self._files[column]:
      table = parquet.read_table(path, columns=[*_PLACE, column])
      for place in zip(*(table[n].to_pylist() for n in (*_PLACE, column))):
        index = wanted.get(place[:2])
        if index is not None:
          found[index] = place[2]
    return found

  def select(self, rows: np.ndarray):
    """What is packed of some rows: their place, content and scores.

    Of the large columns only boxes are among these.
    """
    compute = packages.require("pyarrow.compute", "curation")
    own = [n for n in self.table.column_names if n not in units.FIXED]
    fixed = ["content_hash", "height", "width", *_PLACE]
    table = self.table.select([*fixed, *own]).take(rows)
    key = compute.utf8_slice_codeunits(self.table["key"].take(rows), 0, 32)
    table = table.append_column("known_hash", key)
    for name in filter(lambda n: n.endswith(units.BOXES), self._files):
      values = self._arrow.array(
        self.values(name, rows), self._arrow.list_(self._arrow.float32())
      )
      table = table.append_column(name, values)
    return table

  def write(self, path: pathlib.Path, extra: Mapping[str, Sequence]) -> None:
    """Writes the table with further columns."""
    parquet = packages.require("pyarrow.parquet", "curation")
    table = self.table
    for name, values in extra.items():
      table = table.append_column(name, self._arrow.array(values))
    with files.whole_path(path) as partial:
      parquet.write_table(table, partial, compression="zstd")
