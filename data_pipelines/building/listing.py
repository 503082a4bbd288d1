"""First pass of a build: which images there are, in pieces on disk."""

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
from data_pipelines.common import progress, storage, tars, worker_pool
from data_pipelines.sources import folder

# Images a piece: the unit of work, and what a kill loses in each process.
PIECE_SIZE = 200


@dataclasses.dataclass(frozen=True)
class Unit:
  """A folder, or one tar.

  Attributes:
    place: path or URL.
    prefix: what the names of its images start with.
    is_tar: it is a tar.
    given: the input it belongs to, as given.
  """

  place: str
  prefix: str
  is_tar: bool
  given: str


@dataclasses.dataclass(frozen=True)
class Piece:
  """Some images that follow one another in a unit.

  Attributes:
    number: among all pieces.
    unit: what it is of.
    file: its listing, in the directory of the build.
    num_images: at most `PIECE_SIZE`.
    has_notes: there are sidecars in the unit.
  """

  number: int
  unit: Unit
  file: str
  num_images: int
  has_notes: bool


def absolute(place: str | os.PathLike) -> str:
  """The place as it is called from any working directory."""
  place = os.fspath(place)
  return place if storage.is_remote(place) else os.path.abspath(place)


def find_units(inputs: Sequence[str | os.PathLike]) -> list[Unit]:
  """Resolves inputs: folders, tars, globs of tars.

  Raises:
    InputError: no such input, nothing that matches, or one given twice.
  """
  found = []  # (place, is_tar, given)
  for given in map(os.fspath, inputs):
    try:
      found += [(*place, given) for place in _resolve(given)]
    except ValueError as error:
      raise workspace.InputError(str(error)) from error
  prefixes = _make_prefixes([place for place, _, _ in found])
  return [
    Unit(place, prefix, is_tar, given)
    for (place, is_tar, given), prefix in zip(found, prefixes)
  ]


def _resolve(given: str) -> list[tuple[str, bool]]:
  """The places behind an input, and whether they are tars."""
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
    return hashlib.sha256(_stamp(unit.place)).hexdigest()
  seen = _Folder(unit.place)
  for _ in seen:
    pass
  return seen.stamps.hexdigest()


def list_units(
  root: pathlib.Path,
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
  path = root / "units.json"
  if not path.exists():
    workspace.write_json(root, path, [dataclasses.asdict(u) for u in units])
  units = [Unit(**unit) for unit in workspace.read_json(path)]
  with progress.Progress("listing", None, "img") as shown:
    jobs = []
    for number, unit in enumerate(units):
      marker = _marker(root, number)
      if marker.exists():
        shown.advance(workspace.read_json(marker)["num_images"])
      elif unit.is_tar:
        jobs.append((root, number, unit))
      else:
        for count in _list_folder(root, number, unit):
          shown.advance(count)
    for count in workers.map(_list_tar, jobs):
      shown.advance(count)
  counts = dict.fromkeys((unit.given for unit in units), 0)
  for number, unit in enumerate(units):
    counts[unit.given] += workspace.read_json(_marker(root, number))[
      "num_images"
    ]
  for given, count in counts.items():
    if not count:
      raise workspace.InputError(
        f"{given}: no images ({' '.join(tars.IMAGE_EXTENSIONS)}) below it."
      )
  return units


def read_hashes(root: pathlib.Path, units: Sequence[Unit]) -> Iterator[str]:
  """For each unit, what `hash_unit` said when it was listed."""
  for number in range(len(units)):
    yield workspace.read_json(_marker(root, number))["hash"]


def read_pieces(root: pathlib.Path, units: Sequence[Unit]) -> Iterator[Piece]:
  """All pieces of what is listed, in order."""
  numbers = itertools.count()
  for number, unit in enumerate(units):
    listed = workspace.read_json(_marker(root, number))
    for part, start in enumerate(range(0, listed["num_images"], PIECE_SIZE)):
      yield Piece(
        number=next(numbers),
        unit=unit,
        file=_file_name(number, part),
        num_images=min(PIECE_SIZE, listed["num_images"] - start),
        has_notes=listed["has_notes"],
      )


class _Folder:
  """The images of a folder, and what is seen while going through them."""

  def __init__(self, place: str):
    self._place = place
    self.has_notes = False
    self.stamps = hashlib.sha256()

  def __iter__(self) -> Iterator[str]:
    for path in storage.list_files(self._place):
      if path.endswith(tars.NOTES_EXTENSION):
        self.has_notes = True
      if tars.is_image_name(path):
        whole = storage.join(self._place, path)
        self.stamps.update(os.fsencode(path) + b"\0" + _stamp(whole))
        self.stamps.update(_stamp(notes_path(whole)))
        yield path


def notes_path(path: str) -> str:
  """Where an image file's sidecar would be: a.jpg -> a.json."""
  return path[: path.rindex(".")] + tars.NOTES_EXTENSION


def _list_folder(root: pathlib.Path, number: int, unit: Unit) -> Iterator[int]:
  """Yields the number of images of each piece it has written."""
  seen = _Folder(unit.place)
  num_images = 0
  for count in _write_pieces(root, number, ([path] for path in seen)):
    num_images += count
    yield count
  _write_marker(root, number, num_images, seen.has_notes, seen.stamps)


def _list_tar(job: tuple[pathlib.Path, int, Unit]) -> int:
  root, number, unit = job
  num_images, has_notes = 0, False

  def rows() -> Iterator[list]:
    nonlocal has_notes
    for image, notes in tars.list_images(unit.place):
      where = None
      if notes is not None:
        where, has_notes = [notes.start, notes.size], True
      yield [image.name, image.start, image.size, where]

  stamp = hashlib.sha256(_stamp(unit.place))
  try:
    for count in _write_pieces(root, number, rows()):
      num_images += count
  except tars.TarError as error:
    raise workspace.InputError(str(error)) from error
  _write_marker(root, number, num_images, has_notes, stamp)
  return num_images


def _write_pieces(
  root: pathlib.Path, number: int, rows: Iterable[list]
) -> Iterator[int]:
  rows = iter(rows)
  for part in itertools.count():
    lines = [
      json.dumps(row).encode() + b"\n"  # ASCII: names may be no UTF-8.
      for row in itertools.islice(rows, PIECE_SIZE)
    ]
    if not lines:
      return
    path = root / "list" / _file_name(number, part)
    with workspace.whole_file(root, path) as file:
      file.writelines(lines)
    yield len(lines)


def _write_marker(root, number, num_images, has_notes, stamps) -> None:
  listed = {
    "num_images": num_images,
    "has_notes": has_notes,
    "hash": stamps.hexdigest(),
  }
  workspace.write_json(root, _marker(root, number), listed)


def _marker(root: pathlib.Path, number: int) -> pathlib.Path:
  return root / "list" / f"{number:06}.json"


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


def _make_prefixes(places: Sequence[str]) -> list[str]:
  """What the names of each place's images start with: as short as can be."""
  if len(places) == 1:
    return [""]
  place, count = collections.Counter(places).most_common(1)[0]
  if count > 1:
    raise workspace.InputError(f"{place}: given twice.")
  parts = [place.replace("://", "/").strip("/").split("/") for place in places]
  for depth in range(1, max(map(len, parts)) + 1):
    names = ["/".join(part[-depth:]) for part in parts]
    for labels in ([name.removesuffix(".tar") for name in names], names):
      if len(set(labels)) == len(labels):
        return [folder.show_path(label) + "/" for label in labels]
  raise workspace.InputError(f"{places[0]}: cannot be told from another input.")
