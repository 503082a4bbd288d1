"""All rows of the pool, gathered from the files of scores.

In memory are a few numbers a row. Columns stay in the files of scores, and are
read when they are asked for, a file at a time.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.common import files, packages
from data_pipelines.curation import buckets, deciding, ordering, tables, units

_HASH, _KNOWN = 32, 16  # Bytes of the hashes of content, and of the rest.
_LATER = ("reason", "detail")  # Fixed columns that a later pass adds to.
# What the table of decisions has beside the columns.
_DECIDED = {
  "decision": "string",
  "same_as": "string",
  "same_row": "int64",
  "cluster": "int32",
  "taken_down": "bool",
}


def _is_small(kind: str) -> bool:
  """Whether a column goes into the table of decisions."""
  return kind not in ("list<float32>", "binary")


class Rows:
  """One row an image, in the order of content: never that of the pool.

  Rows without content, which could not be read, come last, by name.

  Attributes:
    first: (n,) integers, the first row with the same content.
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
    self._read_content([task.path(unit) for unit in made], gone)
    self._add(task, made, units.FIXED)

  def _read_content(self, paths, gone) -> None:
    """Orders the rows of the pool, which are numbered shard by shard."""
    counts = [tables.count_rows(path) for path in paths]
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    num_raw = int(self._starts[-1])
    # Half the memory, where that is enough.
    self._kind = np.int32 if num_raw < 2**31 else np.int64
    width = _HASH + _KNOWN + 8
    temporary = self._content.with_name("content-buckets")
    others, first, raw, self.num_content = [], [], [], 0
    with (
      buckets.Buckets(temporary, num_raw, width) as dealt,
      open(self._content, "wb") as file,
    ):
      for shard, number in self._shards.items():
        keys, places, bad = self._read_keys(paths[number], gone.get(shard, ()))
        start = self._starts[number]
        others += [(*text, start + place) for *text, place in bad]
        rows = _as_bytes(start + places)
        # By content, so that the order of buckets is that of rows.
        share = ordering.read_prefix(keys) >> np.uint64(32)
        dealt.add(
          (share * np.uint64(dealt.number)) >> np.uint64(32),
          np.concatenate([keys, rows], axis=1),
        )
      for rows in dealt:
        keys = rows[:, : _HASH + _KNOWN]
        order = ordering.sort_keys(keys)
        keys[order, :_HASH].tofile(file)
        begin = ordering.find_first(keys, order, _HASH)
        first.append((self.num_content + begin).astype(self._kind))
        places = np.ascontiguousarray(rows[order, -8:]).view(np.int64).ravel()
        raw.append(places.astype(self._kind))
        self.num_content += len(rows)
    raw.append(np.array([x[-1] for x in sorted(others)], self._kind))
    self._raw = np.concatenate(raw)
    num_rows = len(self._raw)
    first.append(np.arange(self.num_content, num_rows, dtype=self._kind))
    self.first = np.concatenate(first)
    self._rank = np.full(num_raw, -1, self._kind)
    self._rank[self._raw] = np.arange(num_rows, dtype=self._kind)

  def _read_keys(self, path, left_out) -> tuple[np.ndarray, np.ndarray, list]:
    """Bytes of what has content, and its places; and what has none."""
    columns = ["row", "content_hash", "key"]
    table = tables.read(path, columns)
    is_there = ~np.isin(table["row"].to_numpy(), list(left_out))
    is_known = table["content_hash"].is_valid().to_numpy()
    places = np.flatnonzero(is_there & is_known)
    keys = np.empty((len(places), _HASH + _KNOWN), np.uint8)
    hashes = table["content_hash"].take(places).to_pylist()
    keys[:, :_HASH] = ordering.parse_hex("".join(hashes).encode(), 2 * _HASH)
    known = [key[: 2 * _KNOWN] for key in table["key"].take(places).to_pylist()]
    keys[:, _HASH:] = ordering.parse_hex("".join(known).encode(), 2 * _KNOWN)
    bad, others = np.flatnonzero(is_there & ~is_known), []
    if len(bad):
      columns = ["name", "reason", "detail"]
      table = tables.read(path, columns)
      for row, place in zip(table.take(bad).to_pylist(), bad):
        text = [(row[name] is None, row[name] or "") for name in columns]
        others.append((*text, place))
    return keys, places, others

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
    places = np.full(len(self._rank), -1, self._kind)
    places[self._raw[rows]] = np.arange(len(rows), dtype=self._kind)
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
        table = tables.read(path, columns)
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
    at, count = np.full(len(rows), -1, self._kind), 0
    for places, values in self._read(name, lookup):
      at[places] = np.arange(count, count + len(places))
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
    lookup, dealt, kind = self._lookup(rows), None, None
    with contextlib.ExitStack() as stack:
      for places, values in self._read(name, lookup):
        found = _stack(values)
        if dealt is None:
          kind, width = found.dtype, found.shape[1]
          dealt = stack.enter_context(
            buckets.Buckets(
              path.with_suffix(".buckets"),
              len(rows),
              8 + width * kind.itemsize,
            )
          )
        if found.shape[1] != width:
          raise ValueError(f"{name}: {found.shape[1]} values, others {width}.")
        is_known[places] = True
        places = places.astype(np.int64)
        dealt.add(
          places // dealt.size,
          np.concatenate([_as_bytes(places), _as_bytes(found)], axis=1),
        )
      with open(path, "wb") as file:
        shape = (int(is_known.sum()), width) if dealt else (0, 1)
        kind = kind or np.dtype(np.float32)
        head = {"descr": kind.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        for some in dealt or ():
          places = np.ascontiguousarray(some[:, :8]).view(np.int64).ravel()
          some[np.argsort(places), 8:].tofile(file)
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
    self,
    path: pathlib.Path,
    decisions: deciding.Decisions,
    takedown: Collection[str],
  ) -> None:
    """Writes all small columns with what became of each row.

    Args:
      path: Parquet file, a row group for each shard of the pool.
      decisions: of these rows; "same_as" is the name of the other row, and
        "same_row" its place in the file, as names may repeat.
      takedown: content hashes, for "taken_down".
    """
    compute = packages.require("pyarrow.compute", "curation")
    listed = self._arrow.array(sorted(takedown), "string")
    left_out = np.flatnonzero(self._rank < 0)  # In the pool, but no rows.
    same_as = decisions.same_as
    others = np.unique(same_as[same_as >= 0])
    names = self.column("name", others)
    reasons = self._arrow.array(decisions.reasons, "string")
    columns = [n for n, kind in self._kinds.items() if _is_small(kind)]
    kinds = {name: self._kinds[name] for name in columns} | _DECIDED
    schema = self._arrow.schema(
      (name, units.arrow_type(self._arrow, kind))
      for name, kind in kinds.items()
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
        same = same_as[rows]
        at = self._arrow.array(np.searchsorted(others, same), mask=same < 0)
        hashes = found[columns.index("content_hash")]
        raw = self._raw[same].astype(np.int64)
        found += [
          reasons.take(decisions.codes[rows]),
          names.take(at),
          np.where(same < 0, -1, raw - np.searchsorted(left_out, raw)),
          decisions.clusters[rows],
          compute.is_in(hashes, value_set=listed),
        ]
        writer.write_table(self._arrow.Table.from_arrays(found, schema=schema))

  def _columns_of(self, shard: int, rows: np.ndarray, names: list[str]) -> list:
    """Columns of some rows of one shard, without a look at the others."""
    compute = packages.require("pyarrow.compute", "curation")
    found = {}
    for paths in self._files["reason"]:
      if shard not in paths:
        continue
      table = tables.read(paths[shard])
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


def _as_bytes(values: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
