"""Packages: optional ones of PyPI, and files inside of others.

Those of PyPI and npm, and source packages of Debian.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import re
import subprocess
import sys
import tarfile
import types
import urllib.parse
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence

_TIMEOUT = 600  # Seconds for one package.
_APT_HELPER = "/usr/lib/apt/apt-helper"  # apt's own way to download a file.


class MissingExtra(ImportError, ValueError):
  """A package that only an extra of ours installs is not there."""


def require(module: str, extra: str) -> types.ModuleType:
  """Imports an optional package, which an extra of setup.py installs.

  Raises:
    MissingExtra: it is not installed; the message names the extra.
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise MissingExtra(
      f"{module} is not installed; it comes with the extra {extra}: "
      f"pip install 'sapiens2-jax[{extra}]'"
    ) from error


def fetch_package(
  requirement: str,
  directory: pathlib.Path,
  *,
  is_sdist: bool = False,
  options: Sequence[str] = (),
) -> pathlib.Path:
  """Downloads a package's archive with pip, without its dependencies.

  Args:
    requirement: name==version.
    directory: where to, existing and empty.
    is_sdist: take the source archive, not the wheel.
    options: more for pip, such as the platform of the wheel.

  Raises:
    RuntimeError: pip failed or took too long; the message is pip's last line.
  """
  name = requirement.partition("==")[0]
  form = "--no-binary" if is_sdist else "--only-binary"
  command = [sys.executable, "-m", "pip", "download", "--no-deps", form, name]
  command += ["--quiet", "--disable-pip-version-check", *options]
  command += ["--dest", str(directory), requirement]
  return _download("pip", command, directory)


def fetch_npm_package(
  requirement: str, directory: pathlib.Path
) -> pathlib.Path:
  """Downloads a package's archive with npm; none of its scripts run.

  Args:
    requirement: name@version.
    directory: where to, existing and empty.

  Raises:
    RuntimeError: npm is not installed, failed or took too long; the message
      is npm's last line.
  """
  command = ["npm", "pack", "--ignore-scripts", "--silent"]
  command += ["--pack-destination", str(directory), requirement]
  return _download("npm", command, directory)


def fetch_debian_source(
  built: str, archive: str, directory: pathlib.Path
) -> pathlib.Path:
  """Downloads an archive of a source package of Debian, with apt.

  It lies where a package lies that was built from it, which apt knows without
  lists of sources.

  Args:
    built: a package that was built from the source.
    archive: name of the file.
    directory: where to, existing and empty.

  Raises:
    RuntimeError: this is no Debian, nor a relative of it, apt's lists do not
      have the package, or apt failed; the message is apt's last line.
  """
  said = _run("apt", ["apt-get", "download", "--print-uris", built])
  place = re.match(r"'(\S+/)[^/']+' ", said)
  if place is None:
    raise RuntimeError(f"apt does not say where {built} is")
  uri = place[1] + urllib.parse.quote(archive)
  command = [_APT_HELPER, "download-file", uri, str(directory / archive)]
  return _download("apt", command, directory)


def _download(
  name: str, command: Sequence[str], directory: pathlib.Path
) -> pathlib.Path:
  """Runs a command that leaves one archive in a directory."""
  _run(name, command)
  found = sorted(directory.iterdir())
  if len(found) != 1:
    raise RuntimeError(f"{name} left no archive")
  return found[0]


def _run(name: str, command: Sequence[str]) -> str:
  """What a command prints; its last error line if it fails."""
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, timeout=_TIMEOUT
    )
  except FileNotFoundError as error:
    raise RuntimeError(f"{name} is not installed") from error
  except subprocess.TimeoutExpired as error:
    raise RuntimeError(f"{name} took over {_TIMEOUT} s") from error
  if done.returncode:
    lines = done.stderr.strip().splitlines() or [f"{name} failed"]
    raise RuntimeError(lines[-1])
  return done.stdout


def extract_member(archive: pathlib.Path, member: str) -> bytes:
  """Reads one file out of a wheel or a source archive.

  Raises:
    RuntimeError: the archive cannot be read, or has no such file.
  """
  ((_, data),) = extract_members(archive, [member])
  return data


def extract_members(
  archive: pathlib.Path, members: Iterable[str]
) -> Iterator[tuple[str, bytes]]:
  """Reads files out of an archive in one pass, in the order of the archive.

  Raises:
    RuntimeError: the archive cannot be read, or lacks one of the files.
  """
  missing = set(members)
  try:
    for member, read in _list_members(archive):
      if member in missing:
        missing.remove(member)
        yield member, read()
      if not missing:
        return
  except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
    raise RuntimeError(f"{archive.name}: {error}") from error
  if missing:
    raise RuntimeError(f"{archive.name}: there is no {min(missing)}")


def _list_members(
  archive: pathlib.Path,
) -> Iterator[tuple[str, Callable[[], bytes]]]:
  """Names of the files, and for each how to read it while it is its turn."""
  if zipfile.is_zipfile(archive):
    with zipfile.ZipFile(archive) as opened:
      for name in opened.namelist():
        yield name, functools.partial(opened.read, name)
    return
  with tarfile.open(archive) as opened:
    for entry in opened:
      if entry.isfile():
        file = opened.extractfile(entry)
        yield entry.name, file.read
