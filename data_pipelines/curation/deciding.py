"""Which rows are kept, why not the others, and the funnel of counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Limit:
  """A range that a column must lie in; what is not known is kept.

  Attributes:
    column: with prefix.
    low: least value that is kept.
    high: largest value that is kept.
  """

  column: str
  low: float = -np.inf
  high: float = np.inf

  def check(self, values: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Rows that are outside, and the reason, for both ends."""
    sides = [
      (self.low, values < self.low, "below"),
      (self.high, values > self.high, "above"),
    ]
    return [
      (is_outside, f"{self.column} {word} {limit:g}")
      for limit, is_outside, word in sides
      if np.isfinite(limit)
    ]


class Decisions:
  """What became of each row; a stage sees only what those before it kept.

  Attributes:
    codes: (n,) int32, 0 for rows that are kept, else a number in `reasons`.
    reasons: short texts.
    same_as: (n,) int64, of a duplicate the row that is kept for it, else -1.
    clusters: (n,) int32, of each row that was clustered, else -1.
    funnel: for each stage its counts: stage, in, kept, rejected by reason.
  """

  def __init__(self, num_rows: int):
    self.codes = np.zeros(num_rows, np.int32)
    self.reasons = [""]
    self.same_as = np.full(num_rows, -1)
    self.clusters = np.full(num_rows, -1, np.int32)
    self.funnel = []

  @property
  def kept(self) -> np.ndarray:
    """The numbers of the rows that are kept until now."""
    return np.flatnonzero(self.codes == 0)

  def reject(self, stage: str, found: Iterable[tuple[np.ndarray, str]]) -> None:
    """Takes out rows, says so, and remembers the counts.

    Args:
      stage: its name.
      found: for each reason a mask of all rows; the first one counts.
    """
    num_rows, rejected = len(self.kept), {}
    for mask, reason in found:
      rows = np.flatnonzero(mask & (self.codes == 0))
      if not len(rows):
        continue
      if reason not in self.reasons:
        self.reasons.append(reason)
      self.codes[rows] = self.reasons.index(reason)
      rejected[reason] = rejected.get(reason, 0) + len(rows)
    line = {
      "stage": stage,
      "in": num_rows,
      "kept": len(self.kept),
      "rejected": dict(sorted(rejected.items())),
    }
    self.funnel.append(line)
    print(format_line(line), flush=True)


def format_line(line: dict) -> str:
  """One line of the funnel."""
  share = f"{100 * line['kept'] / line['in']:.1f} %" if line["in"] else "-"
  counts = f"in {line['in']:>9}  kept {line['kept']:>9} ({share})"
  reasons = [f"{reason} {count}" for reason, count in line["rejected"].items()]
  return "  ".join([f"{line['stage']:<12}", counts, *reasons])
