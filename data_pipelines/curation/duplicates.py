"""Equal and nearly equal images, of which the best is kept.

Near: PDQ hashes at most so many of 256 bits apart. A hash is cut into 8 bands
of 32 bits, and images are compared that have a band in common: all of those up
to 7 bits apart are found, of those 10 bits apart about 0.97, of those 31 bits
apart 0.09. Nearness is carried on: what is near to something near belongs to
one group, whose best is kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import packages

NUM_BANDS = 8
_EXACT = 256  # Images with a band in common that are all compared.
_NO_PAIRS = np.empty((0, 2), np.int64)


def keep_least(daft, source: str, target: str) -> None:
  """Of rows with one `content_hash` the one with the least `key`.

  Args:
    daft: the engine.
    source: Parquet file with these two columns.
    target: Parquet file of the same, sorted by hash.
  """
  parquet = packages.require("pyarrow.parquet", "curation")
  rows = daft.read_parquet(source).select("content_hash", "key")
  least = rows.groupby("content_hash").agg(daft.col("key").min())
  parquet.write_table(least.sort("content_hash").to_arrow(), target)


def find_pairs(daft, source: str, target: str, max_distance: int) -> None:
  """Pairs of images whose hashes are near.

  Args:
    daft: the engine, for the groups of each band.
    source: .npy of (n, 32) uint8 hashes.
    target: .npy of (m, 2) int64 row numbers, the lower first; sorted.
    max_distance: bits.
  """
  hashes = np.load(source, mmap_mode="r")
  found = [
    _pairs_of_band(daft, hashes, band, max_distance)
    for band in range(NUM_BANDS)
  ]
  pairs = np.concatenate([_NO_PAIRS, *found])
  partial = f"{target}.partial.npy"
  np.save(partial, np.unique(pairs, axis=0))
  os.replace(partial, target)


def _pairs_of_band(
  daft, hashes: np.ndarray, band: int, max_distance: int
) -> np.ndarray:
  codes = np.ascontiguousarray(hashes[:, 4 * band : 4 * band + 4])
  rows = daft.from_pydict(
    {
      "code": codes.view(">u4").ravel().astype(np.int64),
      "row": np.arange(len(codes)),
    }
  )
  counts = rows.groupby("code").agg(daft.col("row").count().alias("count"))
  shared = counts.where(daft.col("count") > 1).select("code")
  found = rows.join(shared, on="code").to_arrow()
  code, row = (found[name].to_numpy() for name in ("code", "row"))
  order = np.lexsort((row, code))  # The engine has no order.
  code, row = code[order], row[order]
  starts = np.flatnonzero(np.diff(code, prepend=-1))
  pairs = [
    _compare(hashes, group, max_distance)
    for group in np.split(row, starts[1:])
    if len(group) > 1
  ]
  return np.concatenate([_NO_PAIRS, *pairs])


def _compare(
  hashes: np.ndarray, rows: np.ndarray, max_distance: int
) -> np.ndarray:
  """The near pairs among rows with one band.

  Up to 256 rows are all compared. In a larger group only with leaders: the
  first row is one, and each that is near to none before it.
  """
  bits = np.asarray(hashes[rows])
  leaders, pairs = [], []
  for number in range(len(rows)):
    others = np.array(leaders, np.int64)
    near = count_bits(bits[others] ^ bits[number]) <= max_distance
    pairs += [(rows[other], rows[number]) for other in others[near]]
    if len(rows) <= _EXACT or not near.any():
      leaders.append(number)
  return np.array(pairs, np.int64).reshape(-1, 2)


def count_bits(values: np.ndarray) -> np.ndarray:
  """Bits that are set in each row of (n, 32) uint8."""
  return np.bitwise_count(values).sum(axis=-1, dtype=np.int64)


def connect(num_rows: int, pairs: np.ndarray) -> np.ndarray:
  """Connected components.

  Args:
    num_rows: rows are numbered from 0.
    pairs: (m, 2) of rows that belong together.

  Returns:
    (num_rows,) int64, the least row of each one's component.
  """
  least = np.arange(num_rows)
  while True:
    ends = least[pairs]
    low, high = ends.min(axis=1), ends.max(axis=1)
    if np.array_equal(low, high):
      return least
    np.minimum.at(least, high, low)
    while not np.array_equal(least[least], least):
      least = least[least]


def find_best(
  components: np.ndarray, order: Sequence[np.ndarray]
) -> np.ndarray:
  """The row that is kept, for each row.

  Args:
    components: as `connect` returns them.
    order: numbers of each row, larger is better; the first that differs
      decides, and where none does the lower row. NaN is the worst.
  """
  keys = [-np.nan_to_num(values, nan=-np.inf) for values in order]
  ranked = np.lexsort((*keys[::-1], components))
  groups = components[ranked]
  starts = np.flatnonzero(np.diff(groups, prepend=-1))
  best = np.empty(len(components), np.int64)
  best[groups[starts]] = ranked[starts]
  return best[components]
