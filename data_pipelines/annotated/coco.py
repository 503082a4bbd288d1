"""People of COCO JSON files: 17 keypoints, COCO-WholeBody's 133, all 308."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from data_pipelines.annotated import categories, files, labelled
from data_pipelines.common import storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from data_pipelines.vocabulary import keypoints

_ALL = "goliath_wholebody_kpts"
# Fields -> numbers of points they may have -> first of these among the 133 of
# COCO-WholeBody, or the group of ours that lists them in order.
_PARTS = {
  "keypoints": {17: 0},
  "foot_kpts": {6: 17},
  "face_kpts": {238: "face238", 68: 23},
  "lefthand_kpts": {20: "left_hand20", 21: 91},
  "righthand_kpts": {20: "right_hand20", 21: 112},
}
_COUNTS = {_ALL: {NUM_KEYPOINTS: None}, **_PARTS}
MAX_SIDE = 2**20  # Pixels of an image; labels lie not further away.
_LARGEST = 1e12  # Of any number.
Names = tuple[str, ...]
Field = tuple[str, int | Names]  # Its points: how many, or what they are.


class CocoSource(labelled.LabelledSource):
  """The images of a COCO file that have people with keypoints.

  All people get 308 keypoints; what a file does not have is not labelled.
  `goliath_wholebody_kpts` is taken where it is there, else the fields of
  single parts. Where the category lists names of points, `keypoints` (or the
  308, if it lists as many) are in its order; points of other names are left
  out. Boxes are clipped to the image; people without a box get the extent of
  their points. Left out are annotations of other categories, crowds, people
  without keypoints, empty boxes, and then images without people, as the
  public Sapiens2 release does; `notes` count them.
  """

  def __init__(
    self,
    path: str,
    *,
    images: str,
    category: str = categories.PERSON,
    exif: str | None = None,
  ):
    """Reads the annotations.

    Args:
      path: the JSON file.
      images: directory that `file_name` is relative to.
      category: name of the category whose annotations are people. A file
        without categories has nothing but people.
      exif: see `LabelledSource`.

    Raises:
      ValueError: unreadable, or entries of another form: all are listed.
    """
    found = files.read_json(path, dict)
    with files.problems_of(path) as add:
      for name in ("images", "annotations"):
        if not isinstance(found.get(name), list):
          add(name, "expected a list")
    known = categories.Categories(path, found.get("categories"), category)
    seen = _Seen()
    with files.problems_of(path) as add:
      entries = read_images(found["images"], add)
      people = _read_people(found["annotations"], entries, known, seen, add)
    seen.no_people = len(entries) - len(people)
    self.notes = (*known.notes(), *seen.notes(path))
    if not people:
      raise ValueError(
        "\n".join(
          [
            f"{path}: none of {len(found['annotations'])} annotations is a "
            f"person with keypoints ({' '.join(_COUNTS)}).",
            *self.notes,
          ]
        )
      )
    licences = _read_licences(found.get("licenses"))
    used = {number: entries[number] for number in entries if number in people}
    self._people = [people[number] for number in used]
    self._sizes = [read_size(entry) for entry in used.values()]
    self._metadata = [_make_metadata(e, licences) for e in used.values()]
    names = [entry["file_name"] for entry in used.values()]
    paths = [storage.join(images, name) for name in names]
    super().__init__(paths, names, exif)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The people."""
    people = [found.to_person() for found in self._people[index]]
    people.sort(key=lambda person: -person.box[2] * person.box[3])
    return Labels(people=tuple(people))

  def sizes(self, index: int, labels: Labels) -> Mapping[str, labelled.Size]:
    """The size that the file says."""
    return {"the size in the annotations": self._sizes[index]}

  def metadata(self, index: int) -> Mapping[str, object]:
    """Source and licence as the file has them."""
    return self._metadata[index]


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
  """A person as the file has it: far smaller than 308 keypoints."""

  box: records.Box
  area: float | None
  fields: tuple[Field, ...]
  points: np.ndarray

  def to_person(self) -> Person:
    out = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    ids = find_ids(self.fields)
    out[ids[ids >= 0]] = self.points[ids >= 0]
    return Person(self.box, out, self.area)


@dataclasses.dataclass
class _Seen:
  """What people should know of a file.

  Attributes:
    left_out: why -> how many annotations.
    no_box: people without one.
    no_people: images.
    orders: names that `keypoints` were read by; None for COCO's own order.
  """

  left_out: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  no_box: int = 0
  no_people: int = 0
  orders: set[Names | None] = dataclasses.field(default_factory=set)

  def notes(self, path: str) -> list[str]:
    """Lines for people."""
    found = []
    if self.left_out:
      listed = ", ".join(f"{n} {why}" for why, n in self.left_out.items())
      found.append(f"annotations left out: {listed}")
    if self.no_people:
      found.append(f"images left out: {self.no_people} without people")
    if self.no_box:
      found.append(f"{self.no_box} people have no box: their points' extent")
    if None in self.orders:
      found.append("names no keypoints: they are taken in COCO's order")
    names = {name for order in self.orders for name in order or ()}
    lacking = sorted(n for n in names if categories.find_id(n) < 0)
    if lacking:
      found.append(
        f"{len(lacking)} keypoints left out, which the {NUM_KEYPOINTS} do not "
        f"have: {', '.join(lacking)}"
      )
    return [f"{path}: {line}" for line in found]


@functools.cache
def find_ids(fields: tuple[Field, ...]) -> np.ndarray:
  """Where the points of some fields, one behind the other, lie in the 308.

  Returns:
    (points,) int; -1 for those that the 308 do not have.
  """
  of_133 = keypoints()["coco_wholebody_to_308"]
  ids = []
  for name, points in fields:
    if isinstance(points, tuple):
      ids += map(categories.find_id, points)
      continue
    start = _COUNTS[name][points]
    if start is None:
      ids += range(points)
    elif isinstance(start, str):
      ids += keypoints()["groups"][start]
    else:
      ids += [of_133.get(str(start + i), -1) for i in range(points)]
  return np.array(ids)


def clip_box(box: records.Box, height: int, width: int) -> records.Box | None:
  """COCO's x, y, width, height to ours, inside the image; None if empty.

  Returns:
    Top, left, height, width; the last pixels' centres are the border.
  """
  x, y, box_width, box_height = box
  left, right = (min(max(v, 0), width - 1) for v in (x, x + box_width))
  top, bottom = (min(max(v, 0), height - 1) for v in (y, y + box_height))
  if right <= left or bottom <= top:
    return None
  return float(top), float(left), float(bottom - top), float(right - left)


def read_images(
  entries: list, add: files.Add, *, needs_size: bool = True
) -> dict:
  """The entry `images`, by id.

  Args:
    entries: of it.
    add: is told what is wrong with each.
    needs_size: False: height and width may be missing, both.
  """
  found, names = {}, set()
  for number, entry in enumerate(entries):
    where = f"images[{number}]"
    if not isinstance(entry, dict):
      add(where, "expected an object")
      continue
    is_good = {
      "id": files.is_id(entry.get("id")),
      "file_name": files.is_path(entry.get("file_name"))
      and "://" not in entry["file_name"],
    }
    if needs_size or {"height", "width"} & set(entry):
      is_good |= {k: _is_side(entry.get(k)) for k in ("height", "width")}
    if not all(is_good.values()):
      wrong = [name for name, good in is_good.items() if not good]
      add(where, f"{', '.join(wrong)}: missing or of another type")
    elif entry["id"] in found:
      add(where, f"id {entry['id']} is there twice")
    elif entry["file_name"] in names:
      add(where, f"file_name {entry['file_name']} is there twice")
    else:
      names.add(entry["file_name"])
      found[entry["id"]] = entry
  return found


def _is_side(value: object) -> bool:
  is_whole = files.is_id(value) and not isinstance(value, str)
  return is_whole and 0 < value <= MAX_SIDE


def read_size(entry: dict) -> labelled.Size:
  """Height and width of an entry of `read_images`."""
  return int(entry["height"]), int(entry["width"])


def _read_people(
  entries: list,
  pictures: dict,
  known: categories.Categories,
  seen: _Seen,
  add: files.Add,
) -> dict:
  """Number of an image -> list of _Found."""
  people = {}
  for number, entry in enumerate(entries):
    where = f"annotations[{number}]"
    try:
      if not isinstance(entry, dict):
        raise ValueError("expected an object")
      image = entry.get("image_id")
      if not files.is_id(image) or image not in pictures:
        raise ValueError(f"image_id {image!r:.40} is no image's id")
      category = known.find(entry)
      if not category.is_taken:
        seen.left_out[f"of category {category.name}"] += 1
        continue
      size = read_size(pictures[image])
      person = _read_person(entry, size, category.keypoints, seen)
    except ValueError as error:
      add(where, str(error))
      continue
    if isinstance(person, str):
      seen.left_out[person] += 1
    else:
      people.setdefault(image, []).append(person)
  return people


def is_crowd(entry: dict) -> bool:
  """Whether an annotation is of many people; raises ValueError if unclear."""
  if entry.get("iscrowd") not in (None, 0, 1):
    raise ValueError("iscrowd is neither 0 nor 1")
  return bool(entry.get("iscrowd"))


def _read_person(
  entry: dict,
  size: labelled.Size,
  order: Names | None,
  seen: _Seen,
) -> _Found | str:
  """One annotation; why, if it is to be left out."""
  if is_crowd(entry):
    return "crowds"
  fields = [_ALL] if _ALL in entry else [n for n in _PARTS if n in entry]
  if _read_number(entry, "num_keypoints") == 0 or not fields:
    return "without keypoints"
  read = [_read_points(entry, name, order, seen) for name in fields]
  merged = np.concatenate([points for _, points in read])
  box = _read_box(entry, merged, seen)
  if not merged[:, 2].any() or merged[:, :2].max() <= 0:
    return "without keypoints"
  if files.are_fractions(merged[merged[:, 2] > 0, :2]):
    raise ValueError("keypoints lie in [0, 1], expected pixels")
  clipped = clip_box(box, *size)
  if clipped is None:
    return "with an empty box"
  area = _read_number(entry, "area")
  if area is not None and area <= 0:
    area = None  # Nobody has outlined nothing.
  return _Found(clipped, area, tuple(field for field, _ in read), merged)


def _read_box(entry: dict, points: np.ndarray, seen: _Seen) -> records.Box:
  """As COCO has it: x, y, width, height."""
  if entry.get("bbox") in (None, []):
    labelled_points = points[points[:, 2] > 0, :2]
    if not len(labelled_points):
      return (0.0, 0.0, 0.0, 0.0)
    seen.no_box += 1
    left, top = labelled_points.min(0)
    width, height = np.ptp(labelled_points, axis=0)
    return tuple(map(float, (left, top, width, height)))
  box = _read_numbers(entry, "bbox")
  if len(box) != 4:
    raise ValueError(f"bbox has {len(box)} numbers, expected 4")
  if box[2:].min() > 0 and files.are_fractions(box.reshape(2, 2)):
    raise ValueError("bbox lies in [0, 1], expected pixels")
  return tuple(map(float, box))


def _read_points(
  entry: dict, name: str, order: Names | None, seen: _Seen
) -> tuple[Field, np.ndarray]:
  """The field, and (points, 3) float32; visibility becomes 0, 1 or 2."""
  numbers = _read_numbers(entry, name)
  is_named = order is not None and (
    len(order) == NUM_KEYPOINTS if name == _ALL else name == "keypoints"
  )
  allowed = [len(order)] if is_named else list(_COUNTS[name])
  if len(numbers) % 3 or len(numbers) // 3 not in allowed:
    expected = " or ".join(str(3 * count) for count in allowed)
    names = f" for the {len(order)} names of its category" if is_named else ""
    raise ValueError(
      f"{name} has {len(numbers)} numbers, expected {expected}{names}"
    )
  points = numbers.reshape(-1, 3).astype(np.float32)
  visibility = points[:, 2]
  # COCO-WholeBody has fractions of 1 for hands and faces; any is a label.
  points[:, 2] = np.where(visibility > 0, np.where(visibility == 1, 1, 2), 0)
  field = name, (order if is_named else len(points))
  points[find_ids((field,)) < 0] = 0
  if is_named or name == "keypoints":
    seen.orders.add(order if is_named else None)
  return field, points


def _read_numbers(entry: dict, name: str) -> np.ndarray:
  numbers = files.to_numbers(entry.get(name))
  if numbers is None or not np.isfinite(numbers).all():
    raise ValueError(f"{name} is no list of finite numbers")
  if len(numbers) and (far := np.abs(numbers).max()) > MAX_SIDE:
    raise ValueError(f"{name} has {far:g}, expected pixels below {MAX_SIDE}")
  return numbers


def _read_number(entry: dict, name: str) -> float | None:
  value = entry.get(name)
  if value is None:
    return None
  # An int may be too large for a float; NaN is not below anything.
  if type(value) not in (int, float) or not abs(value) < _LARGEST:
    raise ValueError(f"{name} is no finite number")
  return float(value)


def _read_licences(entries: object) -> dict:
  licences = {}
  for entry in entries if isinstance(entries, list) else []:
    if isinstance(entry, dict) and files.is_id(entry.get("id")):
      text = [entry[k] for k in ("name", "url") if _is_text(entry.get(k))]
      licences[entry["id"]] = " ".join(text)
  return licences


def _make_metadata(entry: dict, licences: dict) -> dict[str, str]:
  urls = [entry.get(name) for name in ("flickr_url", "coco_url")]
  licence = entry.get("license")
  known = licences.get(licence, "") if files.is_id(licence) else ""
  return {"source": next(filter(_is_text, urls), ""), "licence": known}


def _is_text(value: object) -> bool:
  return isinstance(value, str) and value != ""
