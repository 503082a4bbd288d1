"""Files of JSON lines that belong to steps, continued after a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from data_pipelines.common import files


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
  try:
    with open(path, "rb") as file:
      lines = [line for line in file if line.endswith(b"\n")]
  except FileNotFoundError:
    return [], 0
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
  try:
    found, num_damaged = read_steps(path)
  except OSError as error:
    files.set_aside(path, error.strerror)
    found, num_damaged = [], 0
  if num_damaged:
    files.copy_aside(path, f"{num_damaged} line(s) are no rows")
  rows = [row for row in found if row["step"] < step]
  with files.whole_file(path) as file:
    file.writelines(map(to_bytes, rows))


def to_line(row: Mapping) -> str:
  """One line of a file."""
  return json.dumps(row, ensure_ascii=False) + "\n"


def to_bytes(row: Mapping) -> bytes:
  """One line in UTF-8; text that has none (odd file names) as escapes."""
  return to_line(row).encode("utf-8", "backslashreplace")
