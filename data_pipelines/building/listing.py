"""First pass of a build: lists all images, in files of a few hundred."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import posixpath
from collections.abc import Iterator, Sequence

from data_pipelines.building import workspace
from data_pipelines.building.workspace import Building
from data_pipelines.common import files, kinds, progress, storage, tars
from data_pipelines.common.worker_pool import WorkerPool
from data_pipelines.sources import folder


@dataclasses.dataclass(frozen=True)
class Unit:
  """A folder or a tar that images are taken from."""

  path: str  # Or its URL.
  prefix: str  # What the names of its images start with.
  is_tar: bool
  given: str  # The input it belongs to.


@dataclasses.dataclass(frozen=True)
class Piece:
  """The images of one listing file: some that follow one another in a unit."""

  number: int  # Among all pieces.
  unit: Unit
  file: str  # Its listing, in the directory of the build.
  num_images: int  # At most `Sizes.piece`.
  has_metadata: bool  # There are sidecars in the unit.


def absolute(path: str | os.PathLike) -> str:
  """A path or URL that means the same from any working directory."""
  path = os.fspath(path)
  return path if storage.is_remote(path) else os.path.abspath(path)


def find_units(inputs: Sequence[str | os.PathLike]) -> list[Unit]:
  """Resolves inputs: folders, tars, globs of tars.

  Raises:
    InputError: no such input, nothing that matches, or one given twice.
  """
  found = []
  for given in map(os.fspath, inputs):
    try:
      found += _resolve(given)
    except ValueError as error:
      raise workspace.InputError(str(error)) from error
  prefixes = _make_prefixes([unit.path for unit in found])
  return [
    dataclasses.replace(unit, prefix=prefix)
    for unit, prefix in zip(found, prefixes)
  ]


def _resolve(given: str) -> list[Unit]:
  """The folders and tars that an input means, without prefixes."""
  if storage.is_directory(given):
    return [Unit(absolute(given), "", False, given)]
  paths = tars.expand(given)
  if paths and storage.exists(paths[0]):
    return [Unit(absolute(path), "", True, given) for path in paths]
  raise ValueError(
    f"{given}: no such directory; expected a folder of images, a .tar or a "
    "glob of them."
  )


def hash_unit(unit: Unit) -> tuple[str, str]:
  """Prefix, and a hash of names, sizes and times of change of what is in it.

  In a bucket, of names only.
  """
  rows = _Rows(unit)
  if not unit.is_tar:
    collections.deque(rows, maxlen=0)
  return unit.prefix, rows.hash.hexdigest()


def list_units(
  building: Building, units: Sequence[Unit], workers: WorkerPool
) -> list[Unit]:
  """Lists all units; those already listed are left as they are.

  Tars are read in the workers, folders here.

  Returns:
    The units: those of the first run, if this one continues a build.

  Raises:
    InputError: an input without images, or a tar that cannot be used.
    OSError: something cannot be read.
  """
  path = building.root / "units.json"
  if not path.exists():
    files.write_json(path, [dataclasses.asdict(u) for u in units])
  units = [Unit(**unit) for unit in files.read_json(path)]
  with progress.Progress("listing", None, "img") as shown:
    jobs = []
    for number, unit in enumerate(units):
      if _marker(building, number).exists():
        shown.advance(_read_marker(building, number)["num_images"])
      elif unit.is_tar:
        jobs.append((building, number, unit))
      else:
        for count in _list_unit(building, number, unit):
          shown.advance(count)
    for count in workers.map(_list_tar, jobs):
      shown.advance(count)
  counts = collections.Counter()
  for number, unit in enumerate(units):
    counts[unit.given] += _read_marker(building, number)["num_images"]
  left_out = read_left_out(building, units)
  for given, count in counts.items():
    if not count:
      others = f"; left out {left_out.describe()}" if left_out.counts else ""
      raise workspace.InputError(
        f"{given}: no images ({' '.join(kinds.IMAGE_ENDINGS)}) below it{others}"
      )
  left_out.report("inputs")
  return units


def read_left_out(building: Building, units: Sequence[Unit]) -> kinds.LeftOut:
  """What is no image among all that is listed."""
  left_out = kinds.LeftOut()
  for number, _ in enumerate(units):
    listed = _read_marker(building, number)
    left_out.update(kinds.LeftOut(listed.get("left_out")))
  return left_out


def read_hash(building: Building, number: int, unit: Unit) -> tuple[str, str]:
  """What `hash_unit` said when the unit was listed."""
  return unit.prefix, _read_marker(building, number)["hash"]


def read_pieces(building: Building, units: Sequence[Unit]) -> Iterator[Piece]:
  """All pieces of what is listed, in order."""
  numbers, size = itertools.count(), building.sizes.piece
  for number, unit in enumerate(units):
    listed = _read_marker(building, number)
    for part, start in enumerate(range(0, listed["num_images"], size)):
      yield Piece(
        number=next(numbers),
        unit=unit,
        file=_file_name(number, part),
        num_images=min(size, listed["num_images"] - start),
        has_metadata=listed["has_metadata"],
      )


class _Rows:
  """The listing of a unit: a row for each image.

  Of a folder [path], of a tar [name, start, size, place of its sidecar].
  `hash`, `has_metadata` and `left_out` are known behind the last row.
  """

  def __init__(self, unit: Unit):
    self._unit = unit
    self.has_metadata = False
    self.left_out = kinds.LeftOut()
    self.hash = hashlib.sha256(stamp(unit.path) if unit.is_tar else b"")

  def __iter__(self) -> Iterator[list]:
    return self._read_tar() if self._unit.is_tar else self._read_folder()

  def _read_folder(self) -> Iterator[list]:
    for path in folder.list_images(self._unit.path, self.left_out):
      whole = storage.join(self._unit.path, path)
      self.hash.update(os.fsencode(path) + b"\0" + stamp(whole))
      self.hash.update(stamp(metadata_path(whole)))
      yield [path]
    self.has_metadata = self.left_out.num_metadata > 0

  def _read_tar(self) -> Iterator[list]:
    try:
      for image, metadata in tars.list_images(self._unit.path, self.left_out):
        where = None
        if metadata is not None:
          where, self.has_metadata = [metadata.start, metadata.size], True
        yield [image.name, image.start, image.size, where]
    except tars.TarError as error:
      raise workspace.InputError(str(error)) from error


def metadata_path(path: str) -> str:
  """Where an image file's sidecar would be: a.jpg -> a.json."""
  return posixpath.splitext(path)[0] + kinds.METADATA_ENDING


def _list_tar(job: tuple[Building, int, Unit]) -> int:
  return sum(_list_unit(*job))


def _list_unit(building: Building, number: int, unit: Unit) -> Iterator[int]:
  """Yields the number of images of each piece it has written."""
  found, num_images = _Rows(unit), 0
  rows = iter(found)
  for part in itertools.count():
    lines = [
      json.dumps(row).encode() + b"\n"  # ASCII: names may be no UTF-8.
      for row in itertools.islice(rows, building.sizes.piece)
    ]
    if not lines:
      break
    path = building.root / "list" / _file_name(number, part)
    with files.whole_file(path) as file:
      file.writelines(lines)
    num_images += len(lines)
    yield len(lines)
  listed = {
    "num_images": num_images,
    "has_metadata": found.has_metadata,
    "hash": found.hash.hexdigest(),
    "left_out": found.left_out.counts,
  }
  files.write_json(_marker(building, number), listed)


def _read_marker(building: Building, number: int) -> dict:
  return files.read_json(_marker(building, number))


def _marker(building: Building, number: int) -> pathlib.Path:
  return building.root / "list" / f"{number:06}.json"


def _file_name(number: int, part: int) -> str:
  return f"{number:06}-{part:08}.jsonl"


def stamp(path: str) -> bytes:
  """Size and time of change of a file on a disk, if there is one."""
  if storage.is_remote(path):
    return b"\n"
  try:
    found = os.stat(path)
  except OSError:
    return b"\n"
  return f"{found.st_size} {found.st_mtime_ns}\n".encode()


def _make_prefixes(paths: Sequence[str]) -> list[str]:
  """What the names of the images below each path start with; all differ."""
  if len(paths) == 1:
    return [""]
  path, count = collections.Counter(paths).most_common(1)[0]
  if count > 1:
    raise workspace.InputError(f"{path}: given twice.")
  parts = [path.replace("://", "/").strip("/").split("/") for path in paths]
  for depth in range(1, max(map(len, parts)) + 1):
    names = ["/".join(part[-depth:]) for part in parts]
    for labels in ([name.removesuffix(".tar") for name in names], names):
      if len(set(labels)) == len(labels):
        return [folder.show_path(label) + "/" for label in labels]
  raise workspace.InputError(f"{paths[0]}: cannot be told from another input.")
