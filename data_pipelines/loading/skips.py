"""Keeps count of unusable images, and stops a run that has too many."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Sequence

from data_pipelines.common import jsonl, storage

MIN_EXAMPLES = 50  # A fraction of fewer reads than this says nothing.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Skipped:
  """One image that was read in vain; see `errors.UnusableExample`."""

  name: str  # Of the record.
  reason: str
  detail: str = ""


class TooManySkipped(RuntimeError):
  """More than the allowed fraction of reads failed."""


class SkipMonitor:
  """Writes each skipped image to a file and watches their fraction.

  The counts are those of this process since its start; the file is that of
  the whole run.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    *,
    max_skipped_fraction: float,
    start_step: int = 0,
  ):
    """Continues the file; lines of steps that will be run again are dropped.

    Args:
      path: of `skipped.jsonl`, on a disk or in a bucket; a directory on a disk
        must exist.
      max_skipped_fraction: stop above this fraction of failed reads, 0 to 1.
      start_step: first step this process will run.

    Raises:
      ValueError: the fraction is not in [0, 1].
    """
    if not 0 <= max_skipped_fraction <= 1:
      raise ValueError(
        f"max_skipped_fraction={max_skipped_fraction} must be in [0, 1]."
      )
    self._path = os.fspath(path)
    self._max_fraction = max_skipped_fraction
    self._num_examples = 0
    self._counts = collections.Counter()
    self._names = []
    if storage.exists(path):
      jsonl.drop_rows_from(path, start_step)
    self._rows = jsonl.Appender(path)

  @property
  def counts(self) -> dict[str, int]:
    """Skipped images so far by reason, most frequent first."""
    return dict(self._counts.most_common())

  def sync(self) -> None:
    """Waits until the file is on the disk, or in the bucket."""
    self._rows.sync()

  def update(
    self, step: int, num_examples: int, skipped: Sequence[Skipped]
  ) -> None:
    """Takes in a step's good examples, and what was skipped beside them.

    Raises:
      TooManySkipped: of at least `MIN_EXAMPLES` reads so far, more than the
        allowed fraction failed.
    """
    self._num_examples += num_examples
    if not skipped:
      return
    for item in skipped:
      self._rows.write({"step": step, **dataclasses.asdict(item)})
      self._counts[item.reason] += 1
      if len(self._names) < _NUM_NAMED:
        self._names.append(item.name)
    num_skipped = self._counts.total()
    num_reads = self._num_examples + num_skipped
    allowed = self._max_fraction * num_reads
    if num_reads >= MIN_EXAMPLES and num_skipped > allowed:
      reasons = ", ".join(
        f"{count} {reason}" for reason, count in self.counts.items()
      )
      self._rows.show()
      raise TooManySkipped(
        f"step {step}: {num_skipped} of {num_reads} images could not be used "
        f"({num_skipped / num_reads:.1%}, max_skipped_fraction="
        f"{self._max_fraction:.1%}): {reasons}; for example "
        f"{', '.join(self._names)}. All are listed in {self._path}."
      )
