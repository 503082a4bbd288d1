"""All rows of the pool, gathered from the files of scores.

In memory are a few numbers a row. Columns stay in the files of scores, and are
read when they are asked for, a file at a time.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.common import files, packages
from data_pipelines.curation import ordering, units

_HASH, _KNOWN = 32, 16  # Bytes of the hashes of content, and of the rest.
_LATER = ("reason", "detail")  # Fixed columns that a later pass adds to.


def _is_small(kind: str) -> bool:
  """Whether a column goes into the table of decisions."""
  return kind not in ("list<float32>", "binary")


class Rows:
  """One row an image, in the order of content: never that of the pool.

  Rows without content, which could not be read, come last, by name.

  Attributes:
    first: (n,) int64, the first row with the same content.
  """

  def __init__(
    self,
    task: units.ScoreShards,
    made: Sequence[units.Unit],
    gone: Mapping[str, frozenset[int]],
    directory: pathlib.Path,
  ):
    """Reads the files of the first pass.

    Args:
      task: made the files.
      made: the units, one for each shard.
      gone: rows of shards that are left out.
      directory: for files that only this process reads.
    """
    self._arrow = packages.require("pyarrow", "curation")
    self._parquet = packages.require("pyarrow.parquet", "curation")
    self._content = directory / "content.npy"
    made = sorted(made, key=lambda unit: unit.shard.id)
    self._shards = {unit.shard.id: n for n, unit in enumerate(made)}
    self._kinds, self._files, self._problems = {}, {}, {}
    self._order(*self._read_first([task.path(unit) for unit in made], gone))
    self._add(task, made, units.FIXED)

  def _read_first(self, paths, gone) -> tuple[np.ndarray, list]:
    """Keys of what has content, as bytes, and what sorts the other rows.

    Numbers the rows of the pool from 0 on, shard by shard.
    """
    counts = [self._parquet.read_metadata(path).num_rows for path in paths]
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    keys = np.empty((self._starts[-1], _HASH + _KNOWN), np.uint8)
    self._raw = np.empty(len(keys), np.int64)
    num_rows, others = 0, []
    for shard, number in self._shards.items():
      columns = ["content_hash", "key", "row", "name", "reason", "detail"]
      table = self._parquet.read_table(paths[number], columns=columns[:3])
      left_out = gone.get(shard, ())
      is_there = ~np.isin(table["row"].to_numpy(), list(left_out))
      is_known = table["content_hash"].is_valid().to_numpy()
      some = np.flatnonzero(is_there & is_known)
      texts = ("".join(table[n].take(some).to_pylist()) for n in columns[:1])
      content = ordering.parse_hex(next(texts).encode(), 2 * _HASH)
      known = [key[: 2 * _KNOWN] for key in table["key"].take(some).to_pylist()]
      end = num_rows + len(some)
      keys[num_rows:end, :_HASH] = content
      keys[num_rows:end, _HASH:] = ordering.parse_hex(
        "".join(known).encode(), 2 * _KNOWN
      )
      self._raw[num_rows:end] = self._starts[number] + some
      num_rows = end
      bad = np.flatnonzero(is_there & ~is_known)
      if len(bad):
        table = self._parquet.read_table(paths[number], columns=columns[3:])
        for row, place in zip(table.take(bad).to_pylist(), bad):
          text = [(row[name] is None, row[name] or "") for name in columns[3:]]
          others.append((*text, self._starts[number] + place))
    return keys[:num_rows], sorted(others)

  def _order(self, keys: np.ndarray, others: list) -> None:
    order = ordering.sort_keys(keys)
    num_rows = len(order) + len(others)
    self.first = np.arange(num_rows)
    self.first[: len(order)] = ordering.find_first(keys, order, _HASH)
    with open(self._content, "wb") as file:
      for start in range(0, len(order), units.BLOCK):
        keys[order[start : start + units.BLOCK], :_HASH].tofile(file)
    self.num_content = len(order)
    self._raw = np.concatenate(
      [self._raw[order], np.array([x[-1] for x in others], np.int64)]
    )
    self._rank = np.full(self._starts[-1], -1, np.int64)
    self._rank[self._raw] = np.arange(num_rows)

  def add(self, task: units.ScoreShards, made: Sequence[units.Unit]) -> None:
    """Adds the columns of a later pass, which has not all rows."""
    self._add(task, made, {name: units.FIXED[name] for name in _LATER})

  def _add(self, task, made, fixed: Mapping[str, str]) -> None:
    paths = {self._shards[unit.shard.id]: task.path(unit) for unit in made}
    for name, kind in {**fixed, **task.columns}.items():
      self._kinds[name] = kind
      self._files.setdefault(name, []).append(paths)
    for places, found in self._read("reason", self._rank, [paths]):
      for place, reason in zip(places, found.to_pylist()):
        self._problems.setdefault(reason, []).append(place)

  def __len__(self) -> int:
    return len(self.first)

  @property
  def problems(self) -> dict[str, np.ndarray]:
    """Why images could not be scored, and their rows."""
    return {
      reason: np.array(rows, np.int64)
      for reason, rows in sorted(self._problems.items())
    }

  def _lookup(self, rows: np.ndarray | None) -> np.ndarray:
    """For each row of the pool its place among some, all different, or -1."""
    if rows is None:
      return self._rank
    places = np.full(len(self._rank), -1, np.int64)
    places[self._raw[rows]] = np.arange(len(rows))
    return places

  def _read(
    self, name: str, lookup: np.ndarray, passes: Sequence[Mapping] | None = None
  ) -> Iterator[tuple]:
    """Yields places and what is known there, a file at a time."""
    for paths in self._find(name) if passes is None else passes:
      for shard, path in paths.items():
        start = self._starts[shard]
        if (lookup[start : self._starts[shard + 1]] < 0).all():
          continue
        columns = sorted({"row", name})
        table = self._parquet.read_table(path, columns=columns)
        table = table.filter(table[name].is_valid())
        # A row of a shard is its place there.
        places = lookup[start + table["row"].to_numpy()]
        values = table[name].combine_chunks()
        if (places < 0).any():
          chosen = np.flatnonzero(places >= 0)
          places, values = places[chosen], values.take(chosen)
        yield places, values

  def _find(self, name: str) -> list[Mapping[int, pathlib.Path]]:
    if name not in self._files:
      raise ValueError(
        f"{name}: no such column; known: {', '.join(sorted(self._files))}"
      )
    return self._files[name]

  def numbers(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """A column as float64, of some rows or all; NaN where it is not known.

    Raises:
      ValueError: no such column, or none of numbers.
    """
    found = np.full(len(self) if rows is None else len(rows), np.nan)
    self._find(name)
    if self._kinds[name] not in ("int32", "int64", "float32", "bool"):
      raise ValueError(f"{name} is no column of numbers.")
    for places, values in self._read(name, self._lookup(rows)):
      if self._arrow.types.is_boolean(values.type):
        values = values.cast("int8")
      found[places] = values.to_numpy(zero_copy_only=False)
    return found

  def column(self, name: str, rows: np.ndarray):
    """A column of some rows, as Arrow has it."""
    rows, place_of = np.unique(rows, return_inverse=True)
    lookup = self._lookup(rows)
    kind = units.arrow_type(self._arrow, self._kinds[name])
    chunks = [self._arrow.array([], kind)]
    at, count = np.full(len(rows), -1, np.int64), 0
    for places, values in self._read(name, lookup):
      at[places] = count + np.arange(len(places))
      count += len(places)
      chunks.append(values)
    at = at[place_of]
    indices = self._arrow.array(at, mask=at < 0)
    return self._arrow.chunked_array(chunks, kind).take(indices)

  def texts(self, name: str, rows: np.ndarray) -> list[str | None]:
    """A column of texts, of some rows."""
    return self.column(name, rows).to_pylist()

  def places(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    """For each shard that has some of the rows their numbers there, sorted."""
    raw = np.sort(self._raw[rows])
    ends = np.searchsorted(raw, self._starts)
    return {
      shard: raw[ends[n] : ends[n + 1]] - self._starts[n]
      for shard, n in self._shards.items()
      if ends[n] < ends[n + 1]
    }

  def content(self, rows: np.ndarray) -> np.ndarray:
    """(m, 32) uint8, SHA-256 of rows that have content."""
    if not self.num_content:
      return np.empty((0, _HASH), np.uint8)
    # Opened anew, so that no more of it stays in memory than is asked for.
    mapped = np.memmap(self._content, np.uint8).reshape(-1, _HASH)
    return np.array(mapped[rows])

  def write_arrays(
    self, name: str, rows: np.ndarray, path: pathlib.Path
  ) -> np.ndarray:
    """Writes a column of bytes or vectors as one array, .npy.

    Returns:
      (m,) bool, where it is known; the array has these rows alone.

    Raises:
      ValueError: they are not equally long.
    """
    is_known = np.zeros(len(rows), bool)
    lookup = self._lookup(rows)
    for places, _ in self._read(name, lookup):
      is_known[places] = True
    to = np.cumsum(is_known) - 1
    array, width = None, 0
    for places, values in self._read(name, lookup):
      found = _stack(values)
      if array is None:
        width = found.shape[1]
        shape = int(is_known.sum()), width
        array = np.lib.format.open_memmap(path, "w+", found.dtype, shape)
      if found.shape[1] != width:
        raise ValueError(f"{name}: {found.shape[1]} values, others {width}.")
      array[to[places]] = found
    if array is None:
      np.save(path, np.empty((0, 1), np.float32))
    return is_known

  def select(self, rows: np.ndarray):
    """What is packed of some rows: their place, content and scores.

    Of the large columns only boxes are among these.
    """
    compute = packages.require("pyarrow.compute", "curation")
    own = [name for name in self._kinds if name not in units.FIXED]
    small = [name for name in own if _is_small(self._kinds[name])]
    boxes = [name for name in own if name.endswith(units.BOXES)]
    fixed = ["content_hash", "height", "width", "shard", "row"]
    table = {name: self.column(name, rows) for name in (*fixed, *small)}
    key = self.column("key", rows)
    table["known_hash"] = compute.utf8_slice_codeunits(key, 0, 2 * _KNOWN)
    table |= {name: self.column(name, rows) for name in boxes}
    return self._arrow.table(table)

  def write(
    self, path: pathlib.Path, decisions: np.ndarray, same_as: np.ndarray
  ) -> None:
    """Writes all small columns with what became of each row.

    Args:
      path: Parquet file, a row group for each shard of the pool.
      decisions: (n,) texts.
      same_as: (n,) int64, -1 for none.
    """
    others = np.unique(same_as[same_as >= 0])
    names = np.array([*self.texts("name", others), None], object)
    names_of = np.searchsorted(others, same_as)
    names_of[same_as < 0] = -1
    columns = [n for n, kind in self._kinds.items() if _is_small(kind)]
    kinds = [self._kinds[name] for name in columns] + ["string"] * 2
    schema = self._arrow.schema(
      (name, units.arrow_type(self._arrow, kind))
      for name, kind in zip([*columns, "decision", "same_as"], kinds)
    )
    with (
      files.whole_path(path) as partial,
      self._parquet.ParquetWriter(
        partial, schema, compression="zstd"
      ) as writer,
    ):
      for shard in self._shards.values():
        rows = self._rank[self._starts[shard] : self._starts[shard + 1]]
        rows = rows[rows >= 0]
        found = self._columns_of(shard, rows, columns)
        found += [
          self._arrow.array(values[index], "string")
          for values, index in ((decisions, rows), (names, names_of[rows]))
        ]
        writer.write_table(self._arrow.Table.from_arrays(found, schema=schema))

  def _columns_of(self, shard: int, rows: np.ndarray, names: list[str]) -> list:
    """Columns of some rows of one shard, without a look at the others."""
    compute = packages.require("pyarrow.compute", "curation")
    found = {}
    for paths in self._files["reason"]:
      if shard not in paths:
        continue
      table = self._parquet.read_table(paths[shard])
      at = np.full(self._starts[shard + 1] - self._starts[shard], -1, np.int64)
      at[table["row"].to_numpy()] = np.arange(len(table))
      at = at[self._raw[rows] - self._starts[shard]]
      table = table.select(
        [name for name in names if name in table.schema.names]
      )
      table = table.take(self._arrow.array(at, mask=at < 0)).combine_chunks()
      for name in table.column_names:
        if name not in found:
          found[name] = table[name]
        elif name in _LATER:
          found[name] = compute.coalesce(found[name], table[name])
    nothing = {name: self._kinds[name] for name in names if name not in found}
    for name, kind in nothing.items():
      kind = units.arrow_type(self._arrow, kind)
      found[name] = self._arrow.nulls(len(rows), kind)
    return [found[name] for name in names]


def _stack(values) -> np.ndarray:
  """(n, m) of an Arrow array of bytes or of vectors of one length.

  Raises:
    ValueError: they differ in length.
  """
  compute = packages.require("pyarrow.compute", "curation")
  is_list = hasattr(values.type, "value_type")
  count = compute.list_value_length if is_list else compute.binary_length
  lengths = np.unique(count(values).to_numpy(zero_copy_only=False))
  if len(lengths) != 1:
    raise ValueError(f"{lengths.tolist()} values in rows of one column.")
  if is_list:
    flat = values.flatten().to_numpy()
  else:
    flat = np.frombuffer(b"".join(values.to_pylist()), np.uint8)
  return flat.reshape(len(values), -1)
