"""WebDataset tars: which images they hold, and where their bytes lie."""

from __future__ import annotations

import functools
import itertools
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from data_pipelines.common import kinds, storage

# Of a sample's files, those that are not its photograph: 7.mask.png.
_LABELS = frozenset(
  "albedo alpha annotation depth edge label labels mask masks matte normal "
  "normals parts seg segmentation".split()
)
# Two empty blocks, and what fills up tar's own records of 20 blocks.
_MAX_PADDING = tarfile.RECORDSIZE + tarfile.BLOCKSIZE
_PIECE = 2**20  # bytes


class Member(NamedTuple):
  """A regular file inside a tar."""

  name: str  # Its path there.
  start: int  # First byte of its content within the tar.
  size: int  # Of its content, bytes.


class TarError(ValueError):
  """A tar that is compressed, cut off, damaged or none at all."""


def list_members(
  path: str | os.PathLike, left_out: kinds.LeftOut | None = None
) -> Iterator[Member]:
  """Reads a tar's headers, in order; hidden files are left out.

  Args:
    path: or URL.
    left_out: counts links, devices and sparse files.

  Raises:
    TarError: it is compressed (then nothing in it can be found without
      unpacking all before), cut off, damaged or no tar: also if it ends
      early, with something behind its end; the message names it.
    OSError: it cannot be read.
  """
  left_out = kinds.LeftOut() if left_out is None else left_out
  with storage.open_file(path) as file:
    try:
      yield from _read_headers(file, left_out)
    except (OSError, MemoryError, GeneratorExit):
      raise
    except Exception as error:  # tarfile raises anything on bad bytes.
      problem = str(error) or type(error).__name__
      raise TarError(
        f"{path}: {problem}; expected a whole, uncompressed tar."
      ) from error


def _read_headers(file: BinaryIO, left_out: kinds.LeftOut) -> Iterator[Member]:
  end = file.seek(0, os.SEEK_END)
  file.seek(0)
  with tarfile.open(fileobj=file, mode="r:") as opened:
    before = 0
    for member in opened:
      opened.members = []  # Else it remembers all of them.
      start, size = member.offset_data, member.size
      if not before <= start <= start + size <= end or opened.offset <= before:
        raise tarfile.ReadError(
          f"{member.name!r} lies at byte {start}, {size} bytes, of {end}"
        )
      before = opened.offset
      if member.isdir() or _is_hidden(member.name):
        continue
      if member.isreg() and not member.issparse():
        yield Member(member.name, start, size)
      else:
        left_out.add("links, devices and sparse files of tars", member.name)
    # A cut between two members, or a broken header, ends the loop too.
    _check_end(file, opened.offset, end)


def _check_end(file: BinaryIO, start: int, end: int) -> None:
  """Raises ReadError unless a tar's end mark, and no more, lies at `start`."""
  file.seek(start)
  if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise tarfile.ReadError(
      f"no end mark after the last member, at byte {start}"
    )
  if end - start > _MAX_PADDING:
    raise tarfile.ReadError(
      f"it ends at byte {start}, but the file goes on for {end - start} bytes"
    )
  if any(file.read()):
    raise tarfile.ReadError(
      f"it ends at byte {start}, but something lies behind"
    )


def list_images(
  path: str | os.PathLike, left_out: kinds.LeftOut | None = None
) -> Iterator[tuple[Member, Member | None]]:
  """Pairs the images of a tar with what is said of them.

  WebDataset's convention: files of one sample follow one another and share
  the name up to the first dot of its last part. `7.mask.png` is no image of
  its own; `IMG.2023.01.05.jpg` and `scan.final.png` are.

  Args:
    path: or URL.
    left_out: counts what is no image.

  Yields:
    Each image, and its .json file if there is one.

  Raises:
    TarError, OSError: as `list_members`.
  """
  left_out = kinds.LeftOut() if left_out is None else left_out
  members = list_members(path, left_out)
  for key, sample in itertools.groupby(members, lambda m: _key(m.name)):
    images, metadata = [], {}
    for member in sample:
      head = (member.start, min(member.size, kinds.HEAD))
      read_head = functools.partial(storage.read_bytes, path, *head)
      kind = kinds.find_other(member.name, read_head)
      if kind is None:
        images.append(member)
      elif kind:
        left_out.add(kind, member.name)
      else:
        metadata[kinds.split(member.name)[0]] = member
    for image in images:
      stem, ending = kinds.split(image.name)
      field = stem.removeprefix(key).rpartition(".")[2]
      if _is_field(field, len(images) > 1):
        left_out.add(f".{field}{ending} of samples", image.name)
      else:
        yield image, metadata.get(stem) or metadata.get(key)


def expand(path: str) -> list[str]:
  """The tars that a path or a glob means; none if it means neither.

  Raises:
    ValueError: a glob that matches no tar.
    OSError: the bucket does not say.
  """
  if any(sign in path for sign in "*?[") and not storage.exists(path):
    paths = [found for found in storage.expand(path) if found.endswith(".tar")]
    if not paths:
      raise ValueError(f"{path}: matches no file that ends in .tar.")
    return paths
  return [path] if path.endswith(".tar") else []


def _key(name: str) -> str:
  """What the files of a sample have in common."""
  directory, base = posixpath.split(name)
  return posixpath.join(directory, base.partition(".")[0])


def _is_field(field: str, has_others: bool) -> bool:
  """Whether what stands before the ending says that it is one of several."""
  is_word = re.fullmatch(r"[A-Za-z]\w*", field) is not None
  return field.lower() in _LABELS or (has_others and is_word)


def _is_hidden(name: str) -> bool:
  return any(part.startswith(".") and part != "." for part in name.split("/"))
