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


def drop_rows_from(path: str | os.PathLike, step: int) -> None:
  """Keeps the rows of steps before `step`, whole or not at all."""
  rows = [row for row in read_rows(path) if row["step"] < step]
  with files.whole_file(path) as file:
    file.writelines(map(to_bytes, rows))


def to_line(row: Mapping) -> str:
  """One line of a file."""
  return json.dumps(row, ensure_ascii=False) + "\n"


def to_bytes(row: Mapping) -> bytes:
  """One line in UTF-8; text that has none (odd file names) as escapes."""
  return to_line(row).encode("utf-8", "backslashreplace")
