"""People of COCO JSON files: 17 keypoints, COCO-WholeBody's 133, all 308."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np

from data_pipelines.annotated import files, labelled
from data_pipelines.common import storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from data_pipelines.vocabulary import keypoints

Box = tuple[float, float, float, float]

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
_NUMBER = int | str
_IMAGE_FIELDS = {"id": _NUMBER, "file_name": str, "height": int, "width": int}


class CocoSource(labelled.LabelledSource):
  """The images of a COCO file that have people with keypoints.

  All people get 308 keypoints; what a file does not have is not labelled.
  `goliath_wholebody_kpts` is taken where it is there, else the fields of
  single parts. Boxes are clipped to the image. Left out are crowds, people
  without keypoints, empty boxes, and then images without people, as the
  public Sapiens2 release does.
  """

  def __init__(self, path: str, *, images: str):
    """Reads the annotations.

    Args:
      path: the JSON file.
      images: directory that `file_name` is relative to.

    Raises:
      ValueError: unreadable, or entries of another form: all are listed.
    """
    found = files.read_json(path, dict)
    with files.problems_of(path) as add:
      for name in ("images", "annotations"):
        if not isinstance(found.get(name), list):
          add(name, "expected a list")
    with files.problems_of(path) as add:
      entries = _read_images(found["images"], add)
      people = _read_people(found["annotations"], entries, add)
    if not people:
      raise ValueError(
        f"{path}: none of {len(found['annotations'])} annotations is a person "
        f"with keypoints ({' '.join(_COUNTS)})."
      )
    licences = _read_licences(found.get("licenses"))
    used = {number: entries[number] for number in entries if number in people}
    self._people = [people[number] for number in used]
    self._sizes = [(e["height"], e["width"]) for e in used.values()]
    self._metadata = [_make_metadata(e, licences) for e in used.values()]
    names = [entry["file_name"] for entry in used.values()]
    super().__init__([storage.join(images, name) for name in names], names)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The people, if the image has the size that the file says."""
    size = (record.height, record.width)
    if size != self._sizes[index]:
      raise files.bad_labels(
        self.location(index),
        f"is {size}, the annotations say {self._sizes[index]}",
      )
    people = [found.to_person() for found in self._people[index]]
    people.sort(key=lambda person: -person.box[2] * person.box[3])
    return Labels(people=tuple(people))

  def metadata(self, index: int) -> Mapping[str, object]:
    """Source and licence as the file has them."""
    return self._metadata[index]


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
  """A person as the file has it: far smaller than 308 keypoints."""

  box: Box
  area: float | None
  fields: tuple[tuple[str, int], ...]  # Names and numbers of points.
  points: np.ndarray

  def to_person(self) -> Person:
    out = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    ids = find_ids(self.fields)
    out[ids[ids >= 0]] = self.points[ids >= 0]
    return Person(self.box, out, self.area)


@functools.cache
def find_ids(fields: tuple[tuple[str, int], ...]) -> np.ndarray:
  """Where the points of some fields, one behind the other, lie in the 308.

  Returns:
    (points,) int; -1 for those that the 308 do not have.
  """
  of_133 = keypoints()["coco_wholebody_to_308"]
  ids = []
  for name, count in fields:
    start = _COUNTS[name][count]
    if start is None:
      ids += range(count)
    elif isinstance(start, str):
      ids += keypoints()["groups"][start]
    else:
      ids += [of_133.get(str(start + i), -1) for i in range(count)]
  return np.array(ids)


def clip_box(box: Box, height: int, width: int) -> Box | None:
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


def _read_images(entries: list, add: files.Add) -> dict:
  found = {}
  for number, entry in enumerate(entries):
    where = f"images[{number}]"
    if not isinstance(entry, dict):
      add(where, "expected an object")
      continue
    wrong = [
      name
      for name, kind in _IMAGE_FIELDS.items()
      if not isinstance(entry.get(name), kind)
    ]
    if wrong:
      add(where, f"{', '.join(wrong)}: missing or of another type")
    elif entry["id"] in found:
      add(where, f"id {entry['id']} is there twice")
    else:
      found[entry["id"]] = entry
  return found


def _read_people(entries: list, pictures: dict, add: files.Add) -> dict:
  """Number of an image -> list of _Found."""
  people = {}
  for number, entry in enumerate(entries):
    where = f"annotations[{number}]"
    try:
      person = _read_person(entry, pictures)
    except ValueError as error:
      add(where, str(error))
      continue
    if person is not None:
      people.setdefault(entry["image_id"], []).append(person)
  return people


def _read_person(entry: object, pictures: dict) -> _Found | None:
  """One annotation; None if it is to be left out."""
  if not isinstance(entry, dict):
    raise ValueError("expected an object")
  image = entry.get("image_id")
  if not isinstance(image, _NUMBER) or image not in pictures:
    raise ValueError(f"image_id {image} is no image's id")
  if entry.get("iscrowd") or entry.get("num_keypoints") == 0:
    return None
  names = [_ALL] if _ALL in entry else [n for n in _PARTS if n in entry]
  if not names:
    return None
  points = [_read_points(entry, name) for name in names]
  box = _read_numbers(entry, "bbox")
  if len(box) != 4:
    raise ValueError(f"bbox has {len(box)} numbers, expected 4")
  picture = pictures[image]
  clipped = clip_box(tuple(box), picture["height"], picture["width"])
  merged = np.concatenate(points)
  if clipped is None or not merged[:, 2].any() or merged[:, :2].max() <= 0:
    return None
  area = entry.get("area")
  is_number = isinstance(area, int | float) and math.isfinite(area)
  if area is not None and not is_number:
    raise ValueError("area is no finite number")
  fields = tuple((name, len(field)) for name, field in zip(names, points))
  return _Found(clipped, area, fields, merged)


def _read_points(entry: dict, name: str) -> np.ndarray:
  """(points, 3) float32; visibility becomes 0, 1 or 2."""
  numbers = _read_numbers(entry, name)
  if len(numbers) % 3 or len(numbers) // 3 not in _COUNTS[name]:
    expected = " or ".join(str(3 * count) for count in _COUNTS[name])
    raise ValueError(f"{name} has {len(numbers)} numbers, expected {expected}")
  points = numbers.reshape(-1, 3).astype(np.float32)
  visibility = points[:, 2]
  # COCO-WholeBody has fractions of 1 for hands and faces; any is a label.
  points[:, 2] = np.where(visibility > 0, np.where(visibility == 1, 1, 2), 0)
  return points


def _read_numbers(entry: dict, name: str) -> np.ndarray:
  try:
    numbers = np.asarray(entry.get(name), np.float64)
  except (TypeError, ValueError):
    numbers = np.array(np.nan)
  if numbers.ndim != 1 or not np.isfinite(numbers).all():
    raise ValueError(f"{name} is no list of finite numbers")
  return numbers


def _read_licences(entries: object) -> dict:
  licences = {}
  for entry in entries if isinstance(entries, list) else []:
    if isinstance(entry, dict) and isinstance(entry.get("id"), _NUMBER):
      text = [str(entry[key]) for key in ("name", "url") if entry.get(key)]
      licences[entry["id"]] = " ".join(text)
  return licences


def _make_metadata(entry: dict, licences: dict) -> dict[str, str]:
  source = entry.get("flickr_url") or entry.get("coco_url") or ""
  licence = entry.get("license")
  known = licences.get(licence, "") if isinstance(licence, _NUMBER) else ""
  return {"source": str(source), "licence": known}
