"""Faces of dlib's XML files: a box and landmarks, many in a photograph."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import xml.etree.ElementTree as ElementTree

import numpy as np

from data_pipelines.annotated import files
from data_pipelines.common import images, storage
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.records import Box

NUM_POINTS = 68  # of the iBUG scheme


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """One face.

  Attributes:
    image: path of the photograph.
    box: top, left, height, width in pixels.
    points: (k, 2) float64, x and y in pixels of the upright photograph, 0 at
      the centre of the first one; in the order of their names, left and right
      as the file has them.
  """

  image: str
  box: Box
  points: np.ndarray


def read_faces(
  path: str | os.PathLike, num_points: int = NUM_POINTS
) -> list[Face]:
  """Reads the faces of a file that dlib's imglab writes.

  Boxes with `ignore` are left out. Photographs are looked at, not decoded.

  Args:
    path: the XML file; photographs are relative to it.
    num_points: that each face has, named 0 to num_points - 1.

  Raises:
    ValueError: unreadable, no such file, or entries of another form: all are
      listed.
  """
  path = os.fspath(path)
  try:
    root = ElementTree.fromstring(storage.read_bytes(path))
  except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
    raise ValueError(f"{path}: cannot be read as XML: {error}") from error
  found = []
  with files.problems_of(path) as add:
    for number, image in enumerate(root.iter("image")):
      where = f"image {number} ({image.get('file')})"
      if problem := _check_image(path, image):
        add(where, problem)
        continue
      photograph = storage.join(posixpath.dirname(path), image.get("file"))
      for place, entry in enumerate(image.iter("box")):
        if entry.get("ignore") == "1":
          continue
        try:
          box = _read_box(entry)
          points = _read_points(entry, num_points)
        except ValueError as error:
          add(f"{where}, box {place}", str(error))
        else:
          found.append(Face(photograph, box, points))
  if not found:
    raise ValueError(f"{path}: has no face.")
  return found


def _check_image(path: str, image: ElementTree.Element) -> str | None:
  """What is wrong with a photograph; None if nothing is."""
  name = image.get("file")
  if not files.is_path(name):
    return "has no file"
  photograph = storage.join(posixpath.dirname(path), name)
  try:
    size, orientation = images.read_header(storage.read_bytes(photograph))
  except (OSError, UnusableExample) as error:
    return f"{photograph}: cannot be read: {error}"
  if orientation != 1:
    return (
      f"EXIF turns it (orientation {orientation}), and nothing tells whether "
      "its landmarks are turned, too"
    )
  for side, key in zip(size, ("height", "width")):
    if image.get(key) not in (None, str(side)):
      return f"{key} is {side}, the file says {image.get(key)}"
  return None


def _read_box(entry: ElementTree.Element) -> Box:
  top, left, height, width = (
    _read_number(entry, key) for key in ("top", "left", "height", "width")
  )
  if height <= 0 or width <= 0:
    raise ValueError(f"height and width are {height:g}, {width:g}")
  return top, left, height, width


def _read_points(entry: ElementTree.Element, num_points: int) -> np.ndarray:
  points = np.full((num_points, 2), np.nan)
  parts = list(entry.iter("part"))
  for part in parts:
    name = part.get("name") or ""
    if not (name.isdecimal() and int(name) < num_points):
      raise ValueError(f"part {name!r:.20}, expected 0 to {num_points - 1}")
    points[int(name)] = _read_number(part, "x"), _read_number(part, "y")
  known = np.isfinite(points).all(axis=1).sum()
  if not len(parts) == known == num_points:
    raise ValueError(
      f"{len(parts)} parts with {known} names, expected {num_points}"
    )
  return points


def _read_number(entry: ElementTree.Element, key: str) -> float:
  try:
    value = float(entry.get(key, ""))
  except ValueError:
    value = np.nan
  if not np.isfinite(value):
    raise ValueError(f"{key} is {entry.get(key)!r:.20}, expected a number")
  return value
