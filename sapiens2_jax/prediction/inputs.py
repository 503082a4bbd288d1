"""What is predicted from: a folder of images, and boxes of people."""

import json
import math
import os
from collections.abc import Collection

import numpy as np

from data_pipelines import sources
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from sapiens2_jax.tasks import Task


def open_images(
  folder: str | os.PathLike, output: str | os.PathLike
) -> sources.FolderSource:
  """The images below a folder.

  Raises:
    ValueError: there are none, or the output would become one of them.
  """
  source = sources.FolderSource(folder)
  if not len(source):
    raise ValueError(f"images={folder}: holds no images.")
  outer, inner = os.path.realpath(folder), os.path.realpath(output)
  if os.path.commonpath([inner, outer]) == outer:
    raise ValueError(
      f"output={output}: lies in images={folder}, and would be read as images "
      "by the next run; give another directory."
    )
  if os.path.exists(output) and not os.path.isdir(output):
    raise ValueError(f"output={output}: is a file; give a directory.")
  return source


def check_task(task: Task, given: str | None, boxes: str | None) -> None:
  """Refuses a model of another task than the caller believes.

  Args:
    task: of the model.
    given: name of the task that the caller named.
    boxes: file that the caller gave.

  Raises:
    ValueError: another task, or one that reads no boxes.
  """
  if given not in (None, task.name):
    raise ValueError(
      f"task={given}: the checkpoint is a model of task {task.name}."
    )
  if boxes is not None and "people" not in task.needs:
    raise ValueError(f"boxes={boxes}: task {task.name} reads no boxes.")


def read_boxes(
  path: str | os.PathLike, names: Collection[str]
) -> dict[str, Labels]:
  """Reads boxes in the form of COCO.

  Args:
    path: JSON, {"images": [{"id", "file_name"}], "annotations": [{"image_id",
      "bbox"}]}; a box is left, top, width, height in pixels.
    names: of the images that are looked at; others in the file are left out.

  Returns:
    By name, of the images that have boxes.

  Raises:
    ValueError: not such a file, or it has boxes of none of the images.
  """
  try:
    with open(path, encoding="utf-8") as file:
      given = json.load(file)
    images, annotations = given["images"], given["annotations"]
    file_names = {image["id"]: image["file_name"] for image in images}
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"boxes={path}: expected JSON with images (id, file_name) and "
      f"annotations (image_id, bbox): {type(error).__name__}: {error}"
    ) from error
  found: dict[str, list[Person]] = {}
  for number, annotation in enumerate(annotations):
    where = f"boxes={path}: annotations[{number}]"
    is_object = isinstance(annotation, dict)
    image_id = annotation.get("image_id") if is_object else None
    if image_id not in file_names:
      raise ValueError(f"{where}: image_id={image_id} is none of images.")
    name = file_names[image_id]
    if name in names:
      person = _person(annotation.get("bbox"), where)
      found.setdefault(name, []).append(person)
  if not found:
    raise ValueError(
      f"boxes={path}: has boxes of none of the {len(names)} images; a "
      f"file_name is a path below the folder of images, such as "
      f"{min(names, default='')!r}."
    )
  return {name: Labels(people=tuple(people)) for name, people in found.items()}


def whole_image(size: tuple[int, int]) -> Labels:
  """One person who fills an image of (height, width) pixels."""
  height, width = size
  return Labels(people=(_unknown((0, 0, height - 1, width - 1)),))


def _person(box: object, where: str) -> Person:
  is_box = (
    isinstance(box, list)
    and len(box) == 4
    and all(isinstance(x, int | float) and math.isfinite(x) for x in box)
    and min(box[2:]) > 0
  )
  if not is_box:
    raise ValueError(
      f"{where}: bbox={box}, expected left, top, width, height in pixels."
    )
  left, top, width, height = box
  return _unknown((top, left, height, width))


def _unknown(box: tuple[float, ...]) -> Person:
  return Person(box, np.zeros((NUM_KEYPOINTS, 3), np.float32))
