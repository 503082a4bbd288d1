"""The annotated faces of dlib's examples, out of Debian's source package.

Nine photographs with 43 faces, 18 of them to train on and 25 to test. Fetched
once with apt (8.6 MB), of which 0.8 MB are kept; later calls need no network.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable

from data_pipelines.common import checksums, directories, packages

ARCHIVE = "dlib_19.24+dfsg.orig.tar.bz2"
SHA256 = "66b4263822a2ff91a3e769e501c7d7927a13089e178c1427ec19cb0475823cf6"
_BUILT = "libdlib-dev"  # Of the same source, so it lies beside it.
_TOP, _FACES = "dlib-19.24+dfsg/", "examples/faces/"
TRAIN = "training_with_face_landmarks.xml"
TEST = "testing_with_face_landmarks.xml"
LICENCE = "LICENSE_FOR_EXAMPLE_PROGRAMS.txt"
_PHOTOGRAPHS = (
  *("2007_007763", "2008_001009", "2008_001322", "2008_002079", "2008_002470"),
  *("2008_002506", "2008_004176", "2008_007676", "2009_004587"),
)
_KEPT = (
  f"examples/{LICENCE}",
  *(f"{_FACES}{name}" for name in (TRAIN, TEST)),
  *(f"{_FACES}{name}.jpg" for name in _PHOTOGRAPHS),
)
_ABOUT = """\
The photographs are of PASCAL VOC 2011, which took them from Flickr. No file of
the package names a licence of theirs, nor who made them: use them to measure,
and do not hand them on. The landmarks are no annotations of people but what
dlib's own model found, which was trained on 300-W, not for commercial use.
The package says of its examples:
"""

# directory -> the archive, or RuntimeError saying why not.
Fetch = Callable[[pathlib.Path], pathlib.Path]


def find_root(directory: str | os.PathLike | None = None) -> pathlib.Path:
  """The folder of the faces, also if nobody names one."""
  default = pathlib.Path.home() / ".cache" / "sapiens2_jax" / "faces"
  return pathlib.Path(directory) if directory else default


def find_faces(
  directory: str | os.PathLike | None = None, *, fetch: Fetch | None = None
) -> pathlib.Path:
  """Makes the photographs and their landmarks available.

  Args:
    directory: where they are or shall be kept; None is that of `find_root`. An
      archive that was put there by hand is taken.
    fetch: how to get the archive; None asks apt.

  Returns:
    A directory with `TRAIN`, `TEST`, the photographs and `LICENCE`, whole or
    absent.

  Raises:
    ValueError: they are not there and cannot be had, or the archive is another
      file; says what was found, and what to do.
  """
  root = find_root(directory)
  place = root / "dlib-19.24"
  if place.is_dir():
    return place
  root.mkdir(parents=True, exist_ok=True)
  try:
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as scratch:
      archive = root / ARCHIVE
      if not archive.is_file():
        print(f"fetching {ARCHIVE} into {root}", flush=True)
        archive = (fetch or _fetch)(pathlib.Path(scratch))
      _extract(archive, place)
  except (RuntimeError, OSError) as error:
    raise ValueError(
      f"{place}: not there, and {ARCHIVE} of Debian's source package dlib "
      f"cannot be fetched: {error}; put that file into {root}"
    ) from error
  return place


def _fetch(directory: pathlib.Path) -> pathlib.Path:
  return packages.fetch_debian_source(_BUILT, ARCHIVE, directory)


def _extract(archive: pathlib.Path, place: pathlib.Path) -> None:
  found = checksums.sha256(archive)
  if found != SHA256:
    raise ValueError(
      f"{archive}: SHA-256 is {found}, expected {SHA256}; fetch it again"
    )
  with directories.replaced(place) as partial:
    members = [_TOP + name for name in _KEPT]
    for member, data in packages.extract_members(archive, members):
      (partial / os.path.basename(member)).write_bytes(data)


def read_terms(place: pathlib.Path) -> str:
  """What is known of who may do what with the files."""
  return _ABOUT + (place / LICENCE).read_text(encoding="utf-8").strip()
