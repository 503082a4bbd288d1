"""Files of JSON lines that belong to steps, continued after a restart."""

from __future__ import annotations

import json
import os


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
  with open(f"{path}.partial", "w", encoding="utf-8") as file:
    file.writelines(to_line(row) for row in rows)
  os.replace(f"{path}.partial", path)


def to_line(row: dict) -> str:
  """One line of a file."""
  return json.dumps(row, ensure_ascii=False) + "\n"
