"""What is predicted from: images, and boxes of people."""

import os
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from data_pipelines import sources
from data_pipelines.annotated import files
from data_pipelines.common import storage
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from data_pipelines.corpus.records import Record
from data_pipelines.sources import base
from data_pipelines.sources.folder import show_path

Box = tuple[float, float, float, float]  # top, left, height, width in pixels
_MAX_PIXELS = 1e9  # of a side, or of where it begins


def open_images(
  given: str | os.PathLike, output: str | os.PathLike
) -> sources.ImageSource:
  """The images below a folder, those of a list, or a single one.

  Args:
    given: a folder, on a disk or in a bucket; a file that ends in .txt, with a
      path a line, relative to its folder; or an image.
    output: directory.

  Raises:
    ValueError: there are none, or the output would become one of them.
  """
  if os.path.exists(output) and not os.path.isdir(output):
    raise ValueError(f"output={output}: is a file; give a directory.")
  local = storage.local_path(given)
  if local is not None and not os.path.exists(local):
    raise ValueError(
      f"images={given}: is not there; give a folder of images, a list of paths "
      "(.txt) or an image."
    )
  if local is not None and not os.path.isdir(local):
    is_list = local.lower().endswith(".txt")
    paths = _read_list(local) if is_list else [os.path.abspath(local)]
    return ListedSource(paths, os.path.dirname(os.path.abspath(local)))
  source = sources.FolderSource(given)
  if not len(source):
    raise ValueError(f"images={given}: holds no images.")
  outer, inner = os.path.realpath(given), os.path.realpath(output)
  if os.path.commonpath([inner, outer]) == outer:
    raise ValueError(
      f"output={output}: lies in images={given}, and would be read as images "
      "by the next run; give another directory."
    )
  return source


class ListedSource:
  """Images named one by one, in that order.

  They are named by their path below a folder; if one of them lies elsewhere,
  below the deepest folder that holds all.

  Args:
    paths: absolute.
    folder: absolute.
  """

  def __init__(self, paths: Sequence[str], folder: str):
    holder = os.path.commonpath([folder, *map(os.path.dirname, paths)])
    if holder != folder:
      holder = os.path.commonpath(list(map(os.path.dirname, paths)))
    self._paths = tuple(paths)
    self._names = [show_path(os.path.relpath(path, holder)) for path in paths]

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Record:
    image = base.read_file(self.location(index))
    return base.make_image_record(image, self.name(index))

  def name(self, index: int) -> str:
    base.check_index(index, len(self))
    return self._names[index]

  def location(self, index: int) -> str:
    base.check_index(index, len(self))
    return self._paths[index]


def _read_list(path: str) -> list[str]:
  """Absolute paths of a list, each once; bytes that are no UTF-8 are kept."""
  with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
    lines = [line.strip() for line in file]
  folder = os.path.dirname(os.path.abspath(path))
  paths = [
    os.path.normpath(os.path.join(folder, os.path.expanduser(line)))
    for line in filter(None, lines)
  ]
  if not paths or any("\0" in name for name in paths):
    raise ValueError(
      f"images={path}: expected a list, a path of an image a line."
    )
  return list(dict.fromkeys(paths))


def read_boxes(
  path: str | os.PathLike, names: Collection[str]
) -> dict[str, Labels]:
  """Reads boxes in the form of COCO.

  Args:
    path: JSON, {"images": [{"id", "file_name"}], "annotations": [{"image_id",
      "bbox"}]}; a box is left, top, width, height in pixels. If there are
      "categories", only annotations of the one that is named person count.
    names: of the images that are looked at; others in the file are left out.

  Returns:
    By name, of the images that have boxes.

  Raises:
    ValueError: not such a file, all problems are listed; or it has boxes of
      none of the images.
  """
  given = files.read_json(os.fspath(path), dict)
  found: dict[str, list[Box]] = {}
  with files.problems_of(f"boxes={path}") as add:
    file_names = _read_names(given.get("images"), "images", "file_name", add)
    people = _read_people(given.get("categories"), add)
    annotations = given.get("annotations")
    if not isinstance(annotations, list):
      add("annotations", "expected a list")
      annotations = []
    for number, annotation in enumerate(annotations):
      where = f"annotations[{number}]"
      annotation = annotation if isinstance(annotation, dict) else {}
      if people and annotation.get("category_id") not in people:
        continue
      image_id, box = annotation.get("image_id"), annotation.get("bbox")
      if not _is_id(image_id) or image_id not in file_names:
        add(where, f"image_id={image_id} is none of images")
      elif not _is_box(box):
        add(where, f"bbox={box}, expected left, top, width, height in pixels")
      elif file_names[image_id] in names:
        left, top, width, height = box
        boxes = found.setdefault(file_names[image_id], [])
        boxes.append((top, left, height, width))
  if not found:
    raise ValueError(
      f"boxes={path}: has boxes of people in none of the {len(names)} images; "
      "a file_name is a path below the folder of images, such as "
      f"{min(names, default='')!r}."
    )
  return {name: make_people(people) for name, people in found.items()}


def _read_names(
  entries: object, where: str, field: str, add: files.Add
) -> dict[int | str, str]:
  """Ids and names of a list of objects."""
  if not isinstance(entries, list):
    add(where, "expected a list")
    return {}
  found = {}
  for number, entry in enumerate(entries):
    entry = entry if isinstance(entry, dict) else {}
    if _is_id(entry.get("id")) and isinstance(entry.get(field), str):
      found[entry["id"]] = entry[field]
    else:
      add(f"{where}[{number}]", f"expected an object with id and {field}")
  return found


def _read_people(entries: object, add: files.Add) -> list[int | str]:
  """Ids of the categories that are people; none: all are."""
  names = _read_names(entries or [], "categories", "name", add)
  people = [i for i, name in names.items() if name.strip().lower() == "person"]
  if names and not people:
    listed = ", ".join(sorted(set(names.values())))
    add("categories", f"none is named person, only {listed}")
  return people


def _is_id(value: object) -> bool:
  return isinstance(value, int | str)


def _is_box(box: object) -> bool:
  return (
    isinstance(box, list)
    and len(box) == 4
    and all(type(x) in (int, float) and abs(x) < _MAX_PIXELS for x in box)
    and min(box[2:]) > 0
  )


def make_people(boxes: Iterable[Box]) -> Labels:
  """People of whom nothing but the boxes is known."""
  keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
  return Labels(people=tuple(Person(box, keypoints) for box in boxes))


def whole_image(size: tuple[int, int]) -> Labels:
  """One person who fills an image of (height, width) pixels."""
  height, width = size
  return make_people([(0, 0, height - 1, width - 1)])
