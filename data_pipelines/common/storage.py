"""Files on a disk or in a bucket, by path or URL.

A URL is anything with a scheme that fsspec knows: gs://, s3://, http://...
(its package, for example gcsfs, must be installed; without it, or with an
unknown scheme, all functions here raise ValueError). What is not there, or
cannot be read, listed or written, is an OSError of any function; also that a
bucket does not say what it has. Nothing here keeps a file open between two
calls.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import glob
import os
import pathlib
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from fsspec import callbacks
from fsspec.implementations import local

from data_pipelines.common import errors, remote

_KINDS = {
  stat.S_ISDIR: "a directory",
  stat.S_ISFIFO: "a FIFO",
  stat.S_ISSOCK: "a socket",
  stat.S_ISCHR: "a device",
  stat.S_ISBLK: "a device",
}
_PIECE = 8 * 2**20  # Bytes of one request when a file is read in order.


class FileInfo(NamedTuple):
  """What a listing says of a file.

  Attributes:
    num_bytes: its size.
    md5: in hex; None where the storage keeps none.
  """

  num_bytes: int
  md5: str | None = None


def is_remote(path: str | os.PathLike) -> bool:
  """Whether the path is a URL."""
  return "://" in os.fspath(path)


def local_path(path: str | os.PathLike) -> str | None:
  """The path on a disk that a path or a file:// URL means; None if neither."""
  if not is_remote(path):
    return os.fspath(path)
  files, inner = remote.resolve(path)
  return inner if isinstance(files, local.LocalFileSystem) else None


def join(directory: str | os.PathLike, *parts: str) -> str:
  """Puts a path together, for disks and buckets alike."""
  return "/".join([os.fspath(directory).rstrip("/"), *parts])


def absolute(path: str | os.PathLike) -> str:
  """The path from the root on; a URL without a slash at its end."""
  if not is_remote(path):
    return os.path.abspath(path)
  return os.fspath(path).rstrip("/")


def normal(path: str | os.PathLike) -> str:
  """The path without what says nothing: `a/./b/` is `a/b`."""
  return absolute(path) if is_remote(path) else os.path.normpath(path)


def to_path(path: str | os.PathLike) -> Any:
  """A path with `/`, `name` and `parent`, of a disk or a bucket.

  Of a bucket it is one of etils, whose own reads know nothing of what stands
  at the top of this module: give it to the functions here.
  """
  if not is_remote(path):
    return pathlib.Path(path)
  from etils import epath  # Orbax' own; data does without.

  return epath.Path(path)


def make_directories(path: str | os.PathLike) -> None:
  """Makes a directory and those it is in; a bucket has none."""
  if not is_remote(path):
    os.makedirs(path, exist_ok=True)


def exists(path: str | os.PathLike) -> bool:
  """Whether there is a file or directory."""
  if not is_remote(path):
    return os.path.exists(path)
  return _info(path) is not None


def is_directory(path: str | os.PathLike) -> bool:
  """Whether there is a directory."""
  if not is_remote(path):
    return os.path.isdir(path)
  info = _info(path)
  return info is not None and info["type"] == "directory"


def read_bytes(
  path: str | os.PathLike, start: int = 0, size: int | None = None
) -> bytes:
  """Reads `size` bytes from byte `start` on, fewer at the end; None for all."""
  if not is_remote(path):
    with errors.naming(path), open(path, "rb") as file:
      if start:  # A pipe cannot seek.
        file.seek(start)
      return file.read(size)
  part = {} if size is None else {"start": start, "end": start + size}
  with remote.at(path) as (files, inner):
    return files.cat_file(inner, **part)


class NotAFile(OSError):
  """Behind a name there is no regular file, and there never will be."""


def read_regular(
  path: str | os.PathLike, start: int = 0, size: int | None = None
) -> bytes:
  """As `read_bytes`, of a regular file only: a FIFO would wait for ever.

  Raises:
    NotAFile: a FIFO, a socket, a device, a directory or a loop of links.
  """
  if not is_remote(path):
    try:
      mode = os.stat(path).st_mode
    except OSError as error:
      if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR):
        raise NotAFile(error.errno, error.strerror, path) from error
      raise
    if not stat.S_ISREG(mode):
      kind = next((v for k, v in _KINDS.items() if k(mode)), "no regular file")
      raise NotAFile(errno.EINVAL, kind, path)
  return read_bytes(path, start, size)


def upload(source: str | os.PathLike, url: str | os.PathLike) -> None:
  """Copies a file of this machine into a bucket, where it appears whole."""
  transfer(source, url, lambda num_bytes: None)


def transfer(
  source: str | os.PathLike,
  target: str | os.PathLike,
  advance: Callable[[int], object],
) -> None:
  """Copies a file into a bucket, where it appears whole, or out of one.

  Args:
    source: path or URL.
    target: the other one of them.
    advance: is told of bytes that were copied; may be called by any thread.
  """
  moved = callbacks.Callback(hooks={"all": _Advance(advance)})
  url = target if is_remote(target) else source
  try:
    with remote.at(url) as (files, inner):
      if is_remote(target):
        files.put_file(os.fspath(source), inner, callback=moved)
      else:
        files.get_file(inner, os.fspath(target), callback=moved)
  except FileNotFoundError as error:
    if not is_remote(target):
      raise
    raise FileNotFoundError(f"{url}: there is no such bucket") from error


class _Advance:
  """Tells differences of what fsspec counts."""

  def __init__(self, advance: Callable[[int], object]):
    self._advance, self._done = advance, 0

  def __call__(self, size: int | None, value: int, **unused) -> None:
    self._advance(value - self._done)
    self._done = value


def copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
  """Copies a file on its own disk or in its own bucket, over what is there."""
  if not is_remote(source):
    shutil.copyfile(source, target)
    return
  with remote.at(source) as (files, inner):
    files.cp_file(inner, remote.resolve(target)[1])


def copy_tree(source: str | os.PathLike, target: str | os.PathLike) -> None:
  """Copies all files below a directory of a bucket."""
  for name in find(source):
    copy(join(source, name), join(target, name))


def remove_tree(directory: str | os.PathLike) -> None:
  """Removes a directory, if there is one, and all below it."""
  with contextlib.suppress(FileNotFoundError):
    if not is_remote(directory):
      shutil.rmtree(directory)
      return
    with remote.at(directory) as (files, inner):
      files.rm(inner, recursive=True)


def remove(path: str | os.PathLike) -> None:
  """Removes a file, if there is one."""
  with contextlib.suppress(FileNotFoundError):
    if not is_remote(path):
      os.unlink(path)
      return
    with remote.at(path) as (files, inner):
      files.rm_file(inner)


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a file for `read`, `seek` and `tell`, from its start to its end."""
  if not is_remote(path):
    with errors.naming(path), open(path, "rb") as file:
      yield file
    return
  with remote.at(path) as (files, inner):
    # Small reads at short distances are faster from large pieces.
    opened = files.open(inner, "rb", block_size=_PIECE, cache_type="readahead")
  with opened:
    yield _RemoteFile(opened, path)


def list_sizes(directory: str | os.PathLike) -> dict[str, int]:
  """The files right in a directory: name -> size in bytes."""
  if not is_remote(directory):
    with os.scandir(directory) as scanned:
      return {
        entry.name: entry.stat().st_size for entry in scanned if entry.is_file()
      }
  with remote.at(directory) as (files, inner):
    files.invalidate_cache()  # Other processes write there, too.
    return {
      entry["name"].rpartition("/")[2]: entry["size"]
      for entry in files.ls(inner, detail=True)
      if entry["type"] == "file"
    }


def list_directories(directory: str | os.PathLike) -> list[str]:
  """Names of the directories right in one, sorted; none if it is not there."""
  try:
    if not is_remote(directory):
      with os.scandir(directory) as scanned:
        return sorted(entry.name for entry in scanned if entry.is_dir())
    with remote.at(directory) as (files, inner):
      return sorted(
        entry["name"].rstrip("/").rpartition("/")[2]
        for entry in files.ls(inner, detail=True)
        if entry["type"] == "directory"
      )
  except (FileNotFoundError, NotADirectoryError):
    return []


def find(directory: str | os.PathLike) -> dict[str, FileInfo]:
  """All files below a directory, hidden ones too, by relative name, sorted.

  Links to directories are not followed.
  """
  if not is_remote(directory):
    root = pathlib.Path(directory)
    return {
      path.relative_to(root).as_posix(): FileInfo(path.stat().st_size)
      for path in sorted(root.rglob("*"))
      if path.is_file()
    }
  with remote.at(directory) as (files, inner):
    found = files.find(inner, detail=True)
  prefix = inner.rstrip("/") + "/"
  infos = {}
  for path, entry in sorted(found.items()):
    md5 = entry.get("md5Hash")
    infos[path.removeprefix(prefix)] = FileInfo(
      entry["size"], md5 and base64.b64decode(md5).hex()
    )
  return infos


def list_files(directory: str | os.PathLike) -> Iterator[str]:
  """All files below a directory, relative to it, sorted.

  Names that start with a dot are left out, and all below such directories. A
  symbolic link to a directory is not followed, its name ends with a slash.
  Memory grows with the number of files in one directory; in a bucket, with
  all."""
  if not is_remote(directory):
    yield from _walk(os.fspath(directory), "")
    return
  if not is_directory(directory):
    raise FileNotFoundError(f"{directory}: no such directory")
  with remote.at(directory) as (files, inner):
    found = files.find(inner)
  prefix = inner.rstrip("/") + "/"
  for path in sorted(found):
    name = path.removeprefix(prefix)
    if not any(part.startswith(".") for part in name.split("/")):
      yield name


def expand(pattern: str) -> list[str]:
  """The files that match a glob pattern, sorted.

  `**` matches directories at any depth, also behind links, each once.
  """
  if not is_remote(pattern):
    return sorted({*_glob(pattern)})
  with remote.at(pattern) as (files, inner):
    return sorted(files.unstrip_protocol(path) for path in files.glob(inner))


class _RemoteFile:
  """An open file whose errors are all OSErrors."""

  def __init__(self, file: BinaryIO, url: str | os.PathLike):
    self._file, self._url = file, url

  def read(self, size: int = -1) -> bytes:
    with remote.as_os_error(self._url):
      return self._file.read(size)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()


def _glob(pattern: str) -> Iterator[str]:
  """As glob.glob with `**`, which runs in circles where links do."""
  head, stars, tail = pattern.partition("**/")
  if not stars and pattern.endswith("**"):
    head, stars, tail = pattern[:-2], "**", "*"
  if not stars or head[-1:] not in ("", "/"):
    yield from glob.glob(pattern)
    return
  for base in glob.glob(head) if head else [""]:
    for directory in _directories(base, set()):
      yield from _glob(glob.escape(directory) + tail)


def _directories(directory: str, seen: set) -> Iterator[str]:
  """A directory and all below it, with a slash each, but hidden ones."""
  try:
    found = os.stat(directory or ".")
    with os.scandir(directory or ".") as scanned:
      entries = [entry for entry in scanned if not entry.name.startswith(".")]
  except OSError:  # As glob does.
    return
  if (found.st_dev, found.st_ino) in seen:
    return
  seen.add((found.st_dev, found.st_ino))
  yield directory
  # What lies here itself comes before what links show again.
  for entry in sorted(entries, key=lambda e: (e.is_symlink(), e.name)):
    if _is_directory(entry):
      yield from _directories(f"{directory}{entry.name}/", seen)


def _walk(directory: str, prefix: str) -> Iterator[str]:
  with os.scandir(directory) as scanned:
    # A directory sorts with its slash, as in a sorted list of whole paths.
    names = [
      (entry.name + "/" * _is_directory(entry), entry.is_symlink())
      for entry in scanned
      if not entry.name.startswith(".")
    ]
    for name, is_link in sorted(names):
      if name.endswith("/") and not is_link:
        yield from _walk(f"{directory}/{name[:-1]}", prefix + name)
      else:
        yield prefix + name


def _is_directory(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError:  # A loop of links.
    return False


def _info(url: str | os.PathLike) -> dict | None:
  """What the bucket says of a file or directory; None if there is none."""
  # Not fsspec's own `exists`: that says no to any error.
  with remote.at(url) as (files, inner):
    try:
      return files.info(inner)
    except FileNotFoundError:
      return None
