"""Files of JSON lines that belong to steps, continued after a restart.

Buckets cannot append. So a file may go on in others, NAME.00001, NAME.00002 and
so on: in a bucket the last of them is written anew, until it has
`PIECE_BYTES`. Both are read the same way, and may be copied to one another.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping

from data_pipelines.common import errors, files, storage

PIECE_BYTES = 2**20


def read_rows(path: str | os.PathLike) -> list[dict]:
  """The whole lines of a file; one that a kill cut off is left out.

  A file that does not exist has no rows.
  """
  try:
    with open(path, encoding="utf-8") as file:
      return [json.loads(line) for line in file if line.endswith("\n")]
  except FileNotFoundError:
    return []


def read_steps(path: str | os.PathLike) -> tuple[list[dict], int]:
  """Rows that have a step, and how many other lines there are.

  A last line that a kill cut off is none, nor is a file that does not exist.

  Raises:
    OSError: it cannot be read.
  """
  rows, num_damaged = [], 0
  for piece in _pieces(path):
    found, others = _parse_steps(_read(piece) or b"")
    rows += found
    num_damaged += others
  return rows, num_damaged


def _pieces(path: str | os.PathLike) -> Iterator[str]:
  """The files, in order; the first may not be there."""
  yield os.fspath(path)
  for number in itertools.count(1):
    if not storage.exists(piece := f"{os.fspath(path)}.{number:05}"):
      return
    yield piece


def _read(path: str) -> bytes | None:
  try:
    return storage.read_bytes(path)
  except FileNotFoundError:
    return None


def _parse_steps(data: bytes) -> tuple[list[dict], int]:
  lines = data.split(b"\n")[:-1]  # What is left a kill cut off.
  rows = [row for line in lines if (row := _parse_step(line)) is not None]
  return rows, len(lines) - len(rows)


def _parse_step(line: bytes) -> dict | None:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  is_row = isinstance(row, dict) and type(row.get("step")) is int
  return row if is_row else None


def drop_rows_from(path: str | os.PathLike, step: int) -> None:
  """Keeps the rows of steps before `step`, whole or not at all.

  What is damaged is kept beside the file, and said; it stops nothing.
  """
  for piece in reversed([*_pieces(path)]):
    try:
      data = _read(piece)
    except OSError as error:
      if storage.is_remote(piece):  # The network, not the file.
        raise
      files.set_aside(piece, error.strerror)
      data = None
    found, num_damaged = _parse_steps(data or b"")
    if num_damaged:
      files.copy_aside(piece, f"{num_damaged} line(s) are no rows")
    kept = b"".join(to_bytes(row) for row in found if row["step"] < step)
    if not kept and piece != os.fspath(path):
      storage.remove(piece)
    elif kept != data:
      files.write_file(piece, kept)


class Appender:
  """Adds rows to a file; who else may read them when is said below."""

  def __init__(self, path: str | os.PathLike):
    """Writes nothing yet."""
    self._path = os.fspath(path)
    *self._full, self._piece = _pieces(path)
    self._is_remote = storage.is_remote(path)
    self._file = None
    self._data = (_read(self._piece) or b"") if self._is_remote else b""
    self._is_shown = True

  def write(self, row: Mapping) -> None:
    """Adds a row; on a disk others see it at once.

    Raises:
      OSError: a disk is full, say; names the file.
    """
    if self._is_remote:
      self._data += to_bytes(row)
      self._is_shown = False
      return
    with errors.naming(self._piece):
      if self._file is None:
        self._file = open(self._piece, "ab", buffering=0)  # noqa: SIM115
      self._file.write(to_bytes(row))

  def show(self) -> None:
    """Lets others see all rows, in a bucket too.

    Raises:
      OSError: it cannot be written; names the file.
    """
    if self._is_shown:
      return
    files.write_file(self._piece, self._data)
    self._is_shown = True
    if len(self._data) >= PIECE_BYTES:
      self._full.append(self._piece)
      self._piece, self._data = f"{self._path}.{len(self._full):05}", b""

  def sync(self) -> None:
    """Waits until all rows survive whatever happens to this machine.

    Raises:
      OSError: it cannot be written; names the file.
    """
    self.show()
    if self._file is not None:
      with errors.naming(self._piece):
        os.fsync(self._file.fileno())

  def close(self) -> None:
    if self._file is not None:
      self._file.close()


def to_line(row: Mapping) -> str:
  """One line of a file."""
  return json.dumps(row, ensure_ascii=False) + "\n"


def to_bytes(row: Mapping) -> bytes:
  """One line in UTF-8; text that has none (odd file names) as escapes."""
  return to_line(row).encode("utf-8", "backslashreplace")
