"""WebDataset tars: which images they hold, and where their bytes lie."""

from __future__ import annotations

import itertools
import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from data_pipelines.common import storage

IMAGE_EXTENSIONS = (
  ".jpg",
  ".jpeg",
  ".png",
  ".webp",
  ".bmp",
  ".gif",
  ".tif",
  ".tiff",
)
METADATA_EXTENSION = ".json"


class Member(NamedTuple):
  """A regular file inside a tar."""

  name: str  # Its path there.
  start: int  # First byte of its content within the tar.
  size: int  # Of its content, bytes.


class TarError(ValueError):
  """A tar that is compressed, cut off or none at all."""


def list_members(path: str | os.PathLike) -> Iterator[Member]:
  """Reads a tar's headers, in order; hidden files are left out.

  Raises:
    TarError: it is compressed (then nothing in it can be found without
      unpacking all before), cut off or no tar; the message names it.
    OSError: it cannot be read.
  """
  with storage.open_file(path) as file:
    try:
      with tarfile.open(fileobj=file, mode="r:") as opened:
        for member in opened:
          opened.members = []  # Else it remembers all of them.
          if member.isreg() and not _is_hidden(member.name):
            yield Member(member.name, member.offset_data, member.size)
        # A cut between two members, or a broken header, ends the loop too.
        file.seek(opened.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
          raise tarfile.ReadError("no end mark after the last member")
    except tarfile.TarError as error:
      raise TarError(
        f"{path}: {error}; expected a whole, uncompressed tar."
      ) from error


def list_images(
  path: str | os.PathLike,
) -> Iterator[tuple[Member, Member | None]]:
  """Pairs the images of a tar with what is said of them.

  WebDataset's convention: files of one sample follow one another and share
  the name up to the first dot of its last part.

  Yields:
    Each image, and its .json file if there is one.

  Raises:
    TarError, OSError: as `list_members`.
  """
  members = list_members(path)
  for _, sample in itertools.groupby(members, lambda m: _split(m.name)[0]):
    images, metadata = [], None
    for member in sample:
      extension = _split(member.name)[1].lower()
      if extension in IMAGE_EXTENSIONS:  # Not .mask.png, say.
        images.append(member)
      elif extension == METADATA_EXTENSION:
        metadata = member
    yield from ((image, metadata) for image in images)


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


def is_image_name(name: str) -> bool:
  """Whether a file's name says that it is an image of a kind we decode."""
  return name.lower().endswith(IMAGE_EXTENSIONS)


def _split(name: str) -> tuple[str, str]:
  directory, base = posixpath.split(name)
  stem, dot, extension = base.partition(".")
  return posixpath.join(directory, stem), dot + extension


def _is_hidden(name: str) -> bool:
  return any(part.startswith(".") and part != "." for part in name.split("/"))
