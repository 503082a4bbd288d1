"""Rows of bytes dealt out to files, so that each fits into memory."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

SIZE = 2**18  # Rows of a bucket, about.
_MAX_FILES = 512  # That are open together; of more rows each has more.


class Buckets:
  """Takes rows in any order; gives them bucket by bucket. A context.

  Attributes:
    size: rows of a bucket, if they come evenly.
    number: of buckets.
  """

  def __init__(self, directory: pathlib.Path, num_rows: int, width: int):
    """Makes a directory, which is gone at the end.

    Args:
      directory: new, or left by a process that was killed.
      num_rows: how many will come, about.
      width: bytes of a row.
    """
    self._directory, self._width = directory, width
    self.size = max(SIZE, -(-num_rows // _MAX_FILES))
    self.number = max(1, -(-num_rows // self.size))

  def __enter__(self) -> Buckets:
    shutil.rmtree(self._directory, ignore_errors=True)
    self._directory.mkdir()
    self._files = [
      open(self._directory / f"{n:06}", "w+b") for n in range(self.number)
    ]
    return self

  def __exit__(self, *error: object) -> None:
    for file in self._files:
      file.close()
    shutil.rmtree(self._directory)

  def add(self, buckets: np.ndarray, rows: np.ndarray) -> None:
    """Adds (n, width) uint8 rows to (n,) buckets, in their order."""
    order = np.argsort(buckets, kind="stable")
    rows = rows[order]
    ends = np.searchsorted(buckets[order], np.arange(self.number + 1))
    for file, start, end in zip(self._files, ends, ends[1:]):
      if start < end:
        rows[start:end].tofile(file)

  def __iter__(self) -> Iterator[np.ndarray]:
    """Yields the rows of each bucket, (n, width) uint8."""
    for file in self._files:
      file.seek(0)
      yield np.fromfile(file, np.uint8).reshape(-1, self._width)
      file.truncate(0)
