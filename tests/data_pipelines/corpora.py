"""Corpora and tars for tests of what reads them."""

from __future__ import annotations

import io
import os
import pathlib
import tarfile
from collections.abc import Mapping

from data_pipelines import build_corpus, sources
from data_pipelines.corpus import records


def pack_folder(
  folder: pathlib.Path, directory: pathlib.Path, shard_size: int
) -> pathlib.Path:
  """Builds a corpus of a folder; returns its directory."""
  build_corpus.build_corpus([folder], directory, shard_size=shard_size)
  return directory


def make_tar(
  files: Mapping[str, bytes], format: int = tarfile.GNU_FORMAT
) -> bytes:
  """A tar of files: name -> content."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w", format=format) as opened:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      opened.addfile(member, io.BytesIO(content))
  return buffer.getvalue()


def tar_folder(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
  """Writes all files below a folder, sorted, into a tar; returns its path."""
  files = sorted(file for file in folder.rglob("*") if file.is_file())
  path.write_bytes(
    make_tar(
      {str(file.relative_to(folder)): file.read_bytes() for file in files}
    )
  )
  return path


def read_all(source: sources.ImageSource) -> list[records.Record]:
  """All records, in order."""
  return [source[index] for index in range(len(source))]


def num_open(directory: os.PathLike) -> int:
  """How many files below a directory this process has open."""
  prefix = f"{os.fspath(directory)}/"
  count = 0
  for number in os.listdir("/proc/self/fd"):
    try:
      count += os.readlink(f"/proc/self/fd/{number}").startswith(prefix)
    except FileNotFoundError:  # Closed since the listing.
      pass
  return count
