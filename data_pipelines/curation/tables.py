"""Parquet files that are read back, with checksums of their pages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from data_pipelines.common import packages


def write(table, path: str | os.PathLike, **options) -> None:
  """Writes a table; `options` are those of `pyarrow.parquet.write_table`."""
  options["write_page_checksum"] = True
  _parquet().write_table(table, path, **options)


def read(path: str | os.PathLike, columns: Sequence[str] | None = None):
  """Reads a table, or some columns of it.

  Raises:
    OSError: it cannot be read, or is not as it was written; names the file.
  """
  with _naming(path):
    return _parquet().read_table(
      path, columns=columns, page_checksum_verification=True
    )


def read_group(path: str | os.PathLike, number: int):
  """As `read`, one row group."""
  with _naming(path):
    file = _parquet().ParquetFile(path, page_checksum_verification=True)
    with file:
      return file.read_row_group(number)


def count_rows(path: str | os.PathLike) -> int:
  """How many rows a file has; raises as `read`."""
  with _naming(path):
    return _parquet().read_metadata(path).num_rows


def _parquet():
  return packages.require("pyarrow.parquet", "curation")


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
  try:
    yield
  except (OSError, ValueError) as error:
    # Of the disk, not of what lies there.
    if error.args[1:] or type(error) is FileNotFoundError:
      raise
    raise OSError(
      f"{path}: damaged: {error}; remove it, the same command makes it anew."
    ) from error
