"""What the page shows of a curation: which images, which counts. Pure."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

# An axis is logarithmic if the largest value is so many times the smallest,
# and the median.
_LOG_RANGE, _LOG_TAIL = 50, 8
_TAIL = 0.5  # Percent at each end that the outermost bars take in.


@dataclasses.dataclass(frozen=True)
class Bins:
  """Bins of a histogram.

  Attributes:
    edges: (n + 1,) rising; the outer bins hold what lies beyond, too.
    is_log: the bins are equal on a logarithmic axis.
  """

  edges: np.ndarray
  is_log: bool = False

  def count(self, values: np.ndarray) -> np.ndarray:
    """(n,) counts; NaN is not counted."""
    values = values[np.isfinite(values)]
    inner = np.searchsorted(self.edges[1:-1], values, side="right")
    return np.bincount(inner, minlength=len(self.edges) - 1)

  def place(self, value: float) -> float:
    """Where a value lies on the axis, 0 to 1; those beyond at an end."""
    low, high, value = self.edges[0], self.edges[-1], float(value)
    if self.is_log:
      low, high, value = np.log([low, high, max(value, low)])
    return float(np.clip((value - low) / (high - low), 0, 1))


def make_bins(
  values: np.ndarray, thresholds: Sequence[float] = (), num_bins: int = 48
) -> Bins:
  """Bins over nearly all values, and over the thresholds.

  Args:
    values: any shape; NaN does not count.
    thresholds: which the bins reach beyond.
    num_bins: at most; fewer where values are few whole numbers.
  """
  values = values[np.isfinite(values)]
  if not len(values):
    return Bins(np.float64([0, 1]))
  low, high = np.percentile(values, [_TAIL, 100 - _TAIL])
  seen = [low, high, *thresholds]
  low, high = min(seen), max(seen)
  is_long = low > 0 and high / low >= _LOG_RANGE
  if is_long and high / np.median(values) >= _LOG_TAIL:
    return Bins(np.geomspace(low / 1.1, high * 1.1, num_bins + 1), True)
  is_whole = np.array_equal(values, np.round(values))
  if is_whole and high - low < num_bins:
    return Bins(np.arange(np.floor(low) - 0.5, np.ceil(high) + 1))
  room = (high - low) * 0.03 or 0.5
  start = low if low == 0 else low - room  # Nothing is below zero there.
  return Bins(np.linspace(start, high + room, num_bins + 1))


def nearest(
  values: np.ndarray,
  rows: np.ndarray,
  threshold: float,
  name: Callable[[int], str],
  count: int,
) -> np.ndarray:
  """Rows in the order of their distance to a threshold.

  Args:
    values: of all rows; where it is not known, a row is left out.
    rows: to choose from.
    threshold: to be near to.
    name: of a row; of rows with one name the first is taken.
    count: of the rows that are returned, at most.
  """
  rows = rows[np.isfinite(values[rows])]
  rows = rows[np.argsort(np.abs(values[rows] - threshold), kind="stable")]
  taken = {}
  for row in rows:
    if len(taken) == count:
      break
    taken.setdefault(name(row), row)
  return np.array(list(taken.values()), np.int64)


def find_roots(same_row: np.ndarray) -> np.ndarray:
  """The row that stands for each in the end: a copy's copy is followed."""
  roots = np.where(same_row < 0, np.arange(len(same_row)), same_row)
  while not np.array_equal(roots[roots], roots):
    roots = roots[roots]
  return roots


def group_duplicates(same_row: np.ndarray) -> dict[int, np.ndarray]:
  """For each row that duplicates were left out for, their rows; large first."""
  roots = find_roots(same_row)
  copies = np.flatnonzero(same_row >= 0)
  copies = copies[np.argsort(roots[copies], kind="stable")]
  kept, starts = np.unique(roots[copies], return_index=True)
  groups = zip(kept.tolist(), np.split(copies, starts[1:]))
  return dict(sorted(groups, key=lambda group: (-len(group[1]), group[0])))


def count_even(counts: np.ndarray) -> float:
  """How many bins of equal size are as even as these: exp of the entropy."""
  shares = counts[counts > 0] / max(counts.sum(), 1)
  return float(np.exp(-(shares * np.log(shares)).sum()))
