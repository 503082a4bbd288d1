"""Categories of COCO files: who is a person, and what the points are called."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping

from data_pipelines.annotated import files
from data_pipelines.vocabulary import keypoints

PERSON = "person"


@dataclasses.dataclass(frozen=True)
class Category:
  """What annotations of a category are.

  Attributes:
    name: as the file has it.
    is_taken: its annotations are the people that are asked for.
    keypoints: names of the points, in the file's order; None if it has none.
  """

  name: str
  is_taken: bool
  keypoints: tuple[str, ...] | None = None


class Categories:
  """The categories of one file."""

  def __init__(self, path: str, given: object, wanted: str = PERSON):
    """Reads the entry `categories`.

    Args:
      path: of the file, for messages.
      given: the entry; None or an empty list if there are no categories: then
        all annotations are people.
      wanted: name of the category to take; upper and lower case are the same.

    Raises:
      ValueError: another form, all problems are listed; or none of that name.
    """
    self._path, self._wanted = path, wanted
    self._known: dict[int | str, Category] = {}
    given = [] if given is None else given
    with files.problems_of(path) as add:
      if isinstance(given, list):
        for number, entry in enumerate(given):
          self._add(entry, f"categories[{number}]", add)
      else:
        add("categories", "expected a list")
    names = [category.name for category in self._known.values()]
    if not names and wanted != PERSON:
      raise ValueError(f"{path}: has no categories; category={wanted} is none.")
    if names and not any(c.is_taken for c in self._known.values()):
      raise ValueError(
        f"{path}: no category is named {wanted!r}; give category=NAME with one "
        f"of {', '.join(sorted(set(names)))}."
      )

  def find(self, entry: Mapping) -> Category:
    """The category of an annotation.

    Raises:
      ValueError: its `category_id` is none of the file's categories.
    """
    if not self._known:
      return Category(PERSON, True)
    number = entry.get("category_id")
    if not files.is_id(number) or number not in self._known:
      raise ValueError(f"category_id {number!r:.40} is no category's id")
    return self._known[number]

  def notes(self) -> list[str]:
    """Lines for people: what the file does not say."""
    if not self._known:
      return [
        f"{self._path}: has no categories; all annotations are taken as people"
      ]
    return []

  def _add(self, entry: object, where: str, add: files.Add) -> None:
    found = entry if isinstance(entry, dict) else {}
    name, number = found.get("name"), found.get("id")
    points = found.get("keypoints") or None
    if not isinstance(name, str) or not files.is_id(number):
      add(where, "expected an object with id and name")
    elif number in self._known:
      add(where, f"id {number} is there twice")
    elif not _are_names(points):
      add(where, "keypoints is no list of different names")
    else:
      is_taken = name.strip().lower() == self._wanted.strip().lower()
      points = None if points is None else tuple(points)
      self._known[number] = Category(name, is_taken, points)


def _are_names(points: object) -> bool:
  if points is None:
    return True
  if not isinstance(points, list):
    return False
  if not all(isinstance(name, str) for name in points):
    return False
  known = [number for number in map(find_id, points) if number >= 0]
  names = set(map(_plain, points))
  return len(names) == len(points) and len(set(known)) == len(known)


def find_id(name: str) -> int:
  """The number of a keypoint among the 308; -1 if it is none of them.

  "Left Eye", "left-eye" and "leftEye" are `left_eye`; names of the 344 points
  of the public release's lists are known as well.
  """
  return _ids().get(_plain(name), -1)


@functools.cache
def _ids() -> dict[str, int]:
  known = keypoints()
  kept = known["source_344"]["kept_ids_in_order"]
  theirs = [known["source_344"]["names"][i] for i in kept]
  both = (*enumerate(theirs), *enumerate(known["names"]))
  return {_plain(name): number for number, name in both}


def _plain(name: str) -> str:
  words = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
  return re.sub(r"[\s._-]+", "_", words).lower()
