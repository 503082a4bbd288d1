"""First pass of a build: lists all images, in files of a few hundred."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from data_pipelines.building import workspace
from data_pipelines.common import files, progress, storage, tars, worker_pool
from data_pipelines.sources import folder


@dataclasses.dataclass(frozen=True)
class Unit:
  """A folder or a tar that images are taken from.

  Attributes:
    path: of it, or its URL.
    prefix: what the names of its images start with.
    is_tar: it is a tar.
    given: the input it belongs to, as given.
  """

  path: str
  prefix: str
  is_tar: bool
  given: str


@dataclasses.dataclass(frozen=True)
class Piece:
  """The images of one listing file: some that follow one another in a unit.

  Attributes:
    number: among all pieces.
    unit: what it is of.
    file: its listing, in the directory of the build.
    num_images: at most `Sizes.piece`.
    has_metadata: there are sidecars in the unit.
  """

  number: int
  unit: Unit
  file: str
  num_images: int
  has_metadata: bool


def absolute(path: str | os.PathLike) -> str:
  """A path or URL that means the same from any working directory."""
  path = os.fspath(path)
  return path if storage.is_remote(path) else os.path.abspath(path)


def find_units(inputs: Sequence[str | os.PathLike]) -> list[Unit]:
  """Resolves inputs: folders, tars, globs of tars.

  Raises:
    InputError: no such input, nothing that matches, or one given twice.
  """
  found = []  # (path, is_tar, given)
  for given in map(os.fspath, inputs):
    try:
      found += [(*unit, given) for unit in _resolve(given)]
    except ValueError as error:
      raise workspace.InputError(str(error)) from error
  prefixes = _make_prefixes([path for path, _, _ in found])
  return [
    Unit(path, prefix, is_tar, given)
    for (path, is_tar, given), prefix in zip(found, prefixes)
  ]


def _resolve(given: str) -> list[tuple[str, bool]]:
  """The folders and tars that an input means; True for a tar."""
  if storage.is_directory(given):
    return [(absolute(given), False)]
  paths = tars.expand(given)
  if paths and storage.exists(paths[0]):
    return [(absolute(path), True) for path in paths]
  raise ValueError(
    f"{given}: no such directory; expected a folder of images, a .tar or a "
    "glob of them."
  )


def hash_unit(unit: Unit) -> str:
  """A hash of names, sizes and times of change of what a unit is made of.

  In a bucket, of names only.
  """
  if unit.is_tar:
    return hashlib.sha256(_stamp(unit.path)).hexdigest()
  seen = _Folder(unit.path)
  for _ in seen:
    pass
  return seen.stamps.hexdigest()


def list_units(
  building: workspace.Building,
  units: Sequence[Unit],
  workers: worker_pool.WorkerPool,
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
      marker = _marker(building, number)
      if marker.exists():
        shown.advance(files.read_json(marker)["num_images"])
      elif unit.is_tar:
        jobs.append((building, number, unit))
      else:
        for count in _list_folder(building, number, unit):
          shown.advance(count)
    for count in workers.map(_list_tar, jobs):
      shown.advance(count)
  counts = dict.fromkeys((unit.given for unit in units), 0)
  for number, unit in enumerate(units):
    counts[unit.given] += files.read_json(_marker(building, number))[
      "num_images"
    ]
  for given, count in counts.items():
    if not count:
      raise workspace.InputError(
        f"{given}: no images ({' '.join(tars.IMAGE_EXTENSIONS)}) below it."
      )
  return units


def read_hashes(
  building: workspace.Building, units: Sequence[Unit]
) -> Iterator[str]:
  """For each unit, what `hash_unit` said when it was listed."""
  for number in range(len(units)):
    yield files.read_json(_marker(building, number))["hash"]


def read_pieces(
  building: workspace.Building, units: Sequence[Unit]
) -> Iterator[Piece]:
  """All pieces of what is listed, in order."""
  numbers = itertools.count()
  for number, unit in enumerate(units):
    listed = files.read_json(_marker(building, number))
    for part, start in enumerate(
      range(0, listed["num_images"], building.sizes.piece)
    ):
      yield Piece(
        number=next(numbers),
        unit=unit,
        file=_file_name(number, part),
        num_images=min(building.sizes.piece, listed["num_images"] - start),
        has_metadata=listed["has_metadata"],
      )


class _Folder:
  """Iterates over the images of a folder, and hashes sizes and times."""

  def __init__(self, directory: str):
    self._directory = directory
    self.has_metadata = False
    self.stamps = hashlib.sha256()

  def __iter__(self) -> Iterator[str]:
    for path in storage.list_files(self._directory):
      if path.endswith(tars.METADATA_EXTENSION):
        self.has_metadata = True
      if tars.is_image_name(path):
        whole = storage.join(self._directory, path)
        self.stamps.update(os.fsencode(path) + b"\0" + _stamp(whole))
        self.stamps.update(_stamp(metadata_path(whole)))
        yield path


def metadata_path(path: str) -> str:
  """Where an image file's sidecar would be: a.jpg -> a.json."""
  return path[: path.rindex(".")] + tars.METADATA_EXTENSION


def _list_folder(
  building: workspace.Building, number: int, unit: Unit
) -> Iterator[int]:
  """Yields the number of images of each piece it has written."""
  seen = _Folder(unit.path)
  num_images = 0
  for count in _write_pieces(building, number, ([path] for path in seen)):
    num_images += count
    yield count
  _write_marker(building, number, num_images, seen.has_metadata, seen.stamps)


def _list_tar(job: tuple[workspace.Building, int, Unit]) -> int:
  building, number, unit = job
  num_images, has_metadata = 0, False

  def rows() -> Iterator[list]:
    nonlocal has_metadata
    for image, metadata in tars.list_images(unit.path):
      where = None
      if metadata is not None:
        where, has_metadata = [metadata.start, metadata.size], True
      yield [image.name, image.start, image.size, where]

  stamp = hashlib.sha256(_stamp(unit.path))
  try:
    for count in _write_pieces(building, number, rows()):
      num_images += count
  except tars.TarError as error:
    raise workspace.InputError(str(error)) from error
  _write_marker(building, number, num_images, has_metadata, stamp)
  return num_images


def _write_pieces(
  building: workspace.Building, number: int, rows: Iterable[list]
) -> Iterator[int]:
  rows = iter(rows)
  for part in itertools.count():
    lines = [
      json.dumps(row).encode() + b"\n"  # ASCII: names may be no UTF-8.
      for row in itertools.islice(rows, building.sizes.piece)
    ]
    if not lines:
      return
    path = building.root / "list" / _file_name(number, part)
    with files.whole_file(path) as file:
      file.writelines(lines)
    yield len(lines)


def _write_marker(building, number, num_images, has_metadata, stamps) -> None:
  listed = {
    "num_images": num_images,
    "has_metadata": has_metadata,
    "hash": stamps.hexdigest(),
  }
  files.write_json(_marker(building, number), listed)


def _marker(building: workspace.Building, number: int) -> pathlib.Path:
  return building.root / "list" / f"{number:06}.json"


def _file_name(number: int, part: int) -> str:
  return f"{number:06}-{part:08}.jsonl"


def _stamp(path: str) -> bytes:
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
