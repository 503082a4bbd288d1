"""Where the people of an image are."""

import collections
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from data_pipelines.annotated import boxes
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.corpus.records import Box
from data_pipelines.curation.scorers.person import PersonScorer
from sapiens2_jax.prediction import inputs
from sapiens2_jax.tasks.base import Image

Detect = Callable[[Image], Labels | None]


class People:
  """Finds people in boxes of a file, else by a detector, else all of an image.

  Args:
    chosen: options of a task; without those of people nothing is looked up.
    names: of the images.
    is_needed: whether the task cannot do without people.

  Raises:
    ValueError: the file or the detector cannot be used.
  """

  def __init__(
    self,
    chosen: Mapping[str, Any],
    names: Collection[str],
    is_needed: bool = True,
  ):
    file, detects = chosen.get("boxes", ""), chosen.get("detect", False)
    self._file = _read_boxes(file, names) if file else boxes.BoxFile()
    self._detect = open_detector() if detects else _find_nobody
    self._counts = collections.Counter()
    self._is_read = bool(is_needed or file or detects)

  def __call__(self, name: str, image: Image) -> Labels:
    """Labels that hold people, at least one.

    Raises:
      UnusableExample: the file of boxes says another size of the image, or a
        box lies outside.
    """
    size = self._file.sizes.get(name, image.shape[:2])
    if size != image.shape[:2]:
      raise UnusableExample(
        "boxes of another size",
        f"{size}, the upright image is {image.shape[:2]}; give boxes of the "
        "image as EXIF turns it",
      )
    listed = self._file.boxes.get(name)
    if lost := [box for box in listed or () if not _is_inside(box, size)]:
      raise UnusableExample(
        "boxes outside the image",
        f"top, left, height, width {lost[0]}, the upright image is {size}; "
        "give boxes of the image as EXIF turns it",
      )
    found = inputs.make_people(listed) if listed else self._detect(image)
    self._counts["people"] += len(found.people) if found else 0
    self._counts["found" if found else "whole"] += 1
    return found or inputs.whole_image(image.shape[:2])

  def summary(self) -> str:
    """How many were found where, for a task that reads them."""
    if not self._is_read:
      return ""
    text = "{people} in {found} images".format_map(self._counts)
    if whole := self._counts["whole"]:
      text += f"; nobody known in {whole}, each taken as one person"
    return text


def _read_boxes(path: str, names: Collection[str]) -> boxes.BoxFile:
  """Says what it leaves out."""
  try:
    found = boxes.read_boxes(path, set(names))
  except ValueError as error:
    raise ValueError(f"boxes={error}") from error
  for note in found.notes:
    print(note, file=sys.stderr, flush=True)
  return found


def _is_inside(box: Box, size: tuple[int, int]) -> bool:
  """Whether something of a box lies in an image of (height, width)."""
  sides = zip(box[:2], box[2:], size)
  return all(-extent < start < side for start, extent, side in sides)


def _find_nobody(image: Image) -> None:
  return None


def open_detector() -> Detect:
  """The detector of curation; None where it finds nobody.

  Raises:
    ValueError: a model, or what runs it, is not there; the message says how it
      is fetched.
  """
  scorer = PersonScorer()
  scorer.load()

  def find(image: Image) -> Labels | None:
    (row,) = scorer.score([image], [{}])
    edges = np.reshape(row["boxes"], (-1, 4)).tolist()
    sizes = [
      (top, left, bottom - top, right - left)
      for left, top, right, bottom in edges
    ]
    return inputs.make_people(sizes) if sizes else None

  return find
