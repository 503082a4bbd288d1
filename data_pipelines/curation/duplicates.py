"""Nearly equal images, of which the best is kept.

Near: PDQ hashes at most so many of 256 bits apart. A hash is cut into 8 bands
of 32 bits, and images are compared that have a band in common: all of those up
to 7 bits apart are found, of those 10 bits apart about 0.97, of those 31 bits
apart 0.09. Nearness is carried on: what is near to something near belongs to
one group, whose best is kept.

The work is cut into units that are done side by side, each in little memory:
first the bands of each slice of the rows are sorted, then for each band and
range of its values all that is equal is brought together.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipelines.common import files

NUM_BANDS = 8
SLICE = 2**21  # Rows of a unit, about.
_CODES = 2**32  # Values of a band.
_EXACT = 256  # Images with a band in common that are all compared.
_BLOCK = 2**18  # Pairs that are compared together.
_NO_PAIRS = np.empty((0, 2), np.int64)


@dataclasses.dataclass(frozen=True)
class SortBands:
  """Sorts the bands of slices of the rows; picklable.

  Attributes:
    hashes: .npy of (n, 32) uint8.
    directory: of the files that are made.
    slice_size: rows of a unit; unit i has the i-th such slice.
  """

  hashes: pathlib.Path
  directory: pathlib.Path
  slice_size: int = SLICE

  def load(self) -> None:
    """There is nothing to open."""

  def path(self, number: int) -> pathlib.Path:
    """(2, 8, m) uint32: of each band the sorted values, then whose they are."""
    return self.directory / f"sorted-{number:06}.npy"

  def __call__(self, number: int) -> None:
    start = number * self.slice_size
    hashes = np.load(self.hashes, mmap_mode="r")
    codes = np.array(hashes[start : start + self.slice_size]).view(">u4").T
    made = np.empty((2, *codes.shape), np.uint32)
    for band, values in enumerate(codes.astype(np.uint32)):
      made[1, band] = np.argsort(values, kind="stable")
      made[0, band] = values[made[1, band]]
    save(self.path(number), made)


@dataclasses.dataclass(frozen=True)
class FindPairs:
  """Finds the near pairs of a band and a range of its values; picklable.

  Attributes:
    bands: the units before, all of them done.
    num_slices: how many they were.
    num_parts: ranges; unit i is part i % num_parts of band i // num_parts.
    max_distance: bits.
  """

  bands: SortBands
  num_slices: int
  num_parts: int
  max_distance: int

  def load(self) -> None:
    """There is nothing to open."""

  def path(self, number: int) -> pathlib.Path:
    """(m, 2) int64, pairs of rows, the lower first."""
    return self.bands.directory / f"pairs-{number:06}.npy"

  def __call__(self, number: int) -> None:
    band, part = divmod(number, self.num_parts)
    low, high = (-(-_CODES * end // self.num_parts) for end in (part, part + 1))
    codes, rows = [], []
    for piece in range(self.num_slices):
      found = np.load(self.bands.path(piece), mmap_mode="r")[:, band]
      start = np.searchsorted(found[0], np.uint32(low))
      end = np.searchsorted(found[0], np.uint32(high - 1), side="right")
      codes.append(np.array(found[0, start:end]))
      rows.append(found[1, start:end] + np.int64(piece * self.bands.slice_size))
    codes, rows = np.concatenate(codes), np.concatenate(rows)
    order = np.argsort(codes, kind="stable")  # Rows stay in their order.
    hashes = np.load(self.bands.hashes, mmap_mode="r")
    pairs = find_pairs(hashes, codes[order], rows[order], self.max_distance)
    save(self.path(number), pairs)


def save(path: pathlib.Path, array: np.ndarray) -> None:
  """Writes a .npy, whole or not at all."""
  with files.whole_file(path) as file:
    np.save(file, array)


def find_pairs(
  hashes: np.ndarray, codes: np.ndarray, rows: np.ndarray, max_distance: int
) -> np.ndarray:
  """Near pairs among rows with equal codes.

  Up to 256 rows with one code are all compared. Of more each only with
  leaders: the first row is one, and each that is near to none before it.

  Args:
    hashes: (n, 32) uint8.
    codes: (m,) sorted.
    rows: (m,) int64, sorted where codes are equal.
    max_distance: bits.

  Returns:
    (p, 2) int64, the lower row first.
  """
  starts = np.flatnonzero(np.diff(codes.astype(np.int64), prepend=-1))
  sizes = np.diff(np.append(starts, len(codes)))
  ends = np.repeat(np.where(sizes <= _EXACT, starts + sizes, 0), sizes)
  pairs = [_NO_PAIRS]
  left, step = np.flatnonzero(ends > np.arange(len(ends)) + 1), 1
  while len(left):
    for start in range(0, len(left), _BLOCK):
      some = left[start : start + _BLOCK]
      ends_of = np.stack([rows[some], rows[some + step]], axis=1)
      apart = count_bits(hashes[ends_of[:, 0]] ^ hashes[ends_of[:, 1]])
      pairs.append(ends_of[apart <= max_distance])
    step += 1
    left = left[ends[left] > left + step]
  for group in np.flatnonzero(sizes > _EXACT):
    crowd = rows[starts[group] : starts[group] + sizes[group]]
    pairs.append(_follow_leaders(hashes, crowd, max_distance))
  return np.concatenate(pairs)


def _follow_leaders(
  hashes: np.ndarray, rows: np.ndarray, max_distance: int
) -> np.ndarray:
  bits = np.asarray(hashes[rows])
  leaders, num_leaders, pairs = np.empty_like(rows), 0, []
  for number in range(len(rows)):
    others = leaders[:num_leaders]
    near = count_bits(bits[others] ^ bits[number]) <= max_distance
    if near.any():
      found = rows[others[near]]
      pairs.append(np.stack([found, np.full_like(found, rows[number])], 1))
    else:
      leaders[num_leaders] = number
      num_leaders += 1
  return np.concatenate([_NO_PAIRS, *pairs])


def count_bits(values: np.ndarray) -> np.ndarray:
  """Bits that are set in each row of (n, 32) uint8."""
  words = np.ascontiguousarray(values).view(np.uint64)
  return np.bitwise_count(words).sum(axis=-1, dtype=np.int64)


def connect(num_rows: int, pairs: Iterable[np.ndarray]) -> np.ndarray:
  """Connected components.

  Args:
    num_rows: rows are numbered from 0.
    pairs: arrays (m, 2) of rows that belong together; one is looked at after
      the other.

  Returns:
    (num_rows,) int64, the least row of each one's component.
  """
  least = np.arange(num_rows)
  for some in pairs:
    while True:
      ends = _find_roots(least, some)
      low, high = ends.min(axis=1), ends.max(axis=1)
      differ = low != high
      if not differ.any():
        break
      some, low, high = some[differ], low[differ], high[differ]
      np.minimum.at(least, high, low)
  for start in range(0, num_rows, _BLOCK):
    block = least[start : start + _BLOCK]
    block[:] = _find_roots(least, block.copy())
  return least


def _find_roots(least: np.ndarray, rows: np.ndarray) -> np.ndarray:
  roots = least[rows]
  while not np.array_equal(above := least[roots], roots):
    roots = above
  least[rows] = roots
  return roots


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
