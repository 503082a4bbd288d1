"""Boxes of people in COCO's form, where nothing else of them is asked for."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from data_pipelines.annotated import categories, coco, files
from data_pipelines.corpus.records import Box


class BoxFile(NamedTuple):
  """What a file says of some images.

  Attributes:
    boxes: file name -> top, left, height, width in pixels, at least one.
    sizes: file name -> (height, width), of those of which the file says it.
    notes: lines for people: what was left out.
  """

  boxes: Mapping[str, list[Box]] = types.MappingProxyType({})
  sizes: Mapping[str, tuple[int, int]] = types.MappingProxyType({})
  notes: tuple[str, ...] = ()


def read_boxes(path: str, names: Collection[str]) -> BoxFile:
  """Reads the boxes of people; other categories and crowds are counted.

  Args:
    path: JSON, {"images": [{"id", "file_name"}], "annotations": [{"image_id",
      "bbox"}]}, which may have sizes of images, `category_id`, `categories`
      and `iscrowd`; a bbox is left, top, width, height in pixels.
    names: of the images that are looked at; others in the file are left out.

  Raises:
    ValueError: not such a file, a box without area or in [0, 1], or no box of
      any of the names; all problems are listed.
  """
  found = files.read_json(path, dict)
  images, annotations = found.get("images"), found.get("annotations")
  if not isinstance(images, list) or not isinstance(annotations, list):
    raise ValueError(
      f"{path}: expected JSON with images (id, file_name) and annotations "
      "(image_id, bbox)"
    )
  known = categories.Categories(path, found.get("categories"))
  with files.problems_of(path) as add:
    entries = coco.read_images(images, add, needs_size=False)
  boxes, left_out = {}, 0
  with files.problems_of(path) as add:
    for number, entry in enumerate(annotations):
      where = f"annotations[{number}]"
      try:
        name, box = _read_box(entry, entries, known)
      except ValueError as error:
        add(where, str(error))
        continue
      if box is None:
        left_out += 1
      elif name in names:
        boxes.setdefault(name, []).append(box)
  if not boxes:
    raise ValueError(
      f"{path}: has boxes of people of none of the {len(names)} images; a "
      "file_name is a path below the folder of images, such as "
      f"{min(names, default='')!r}."
    )
  sizes = {
    entry["file_name"]: coco.read_size(entry)
    for entry in entries.values()
    if entry["file_name"] in boxes and "height" in entry
  }
  notes = (f"{path}: {left_out} boxes of other categories or crowds left out",)
  return BoxFile(boxes, sizes, notes if left_out else ())


def _read_box(
  entry: object, images: dict, known: categories.Categories
) -> tuple[str, Box | None]:
  """The file name, and the box if it is of a person."""
  if not isinstance(entry, dict):
    raise ValueError("expected an object")
  image = entry.get("image_id")
  if not files.is_id(image) or image not in images:
    raise ValueError(f"image_id={image!r:.40} is none of images")
  name = images[image]["file_name"]
  if not known.find(entry).is_taken or coco.is_crowd(entry):
    return name, None
  given = files.to_numbers(entry.get("bbox"))
  is_box = (
    given is not None
    and given.shape == (4,)
    and np.abs(given).max() <= coco.MAX_SIDE
    and given[2:].min() > 0
    and not files.are_fractions(given.reshape(2, 2))
  )
  if not is_box:
    shown = repr(entry.get("bbox"))
    raise ValueError(
      f"bbox={shown:.60}, expected left, top, width, height in pixels"
    )
  left, top, width, height = map(float, given)
  return name, (top, left, height, width)
