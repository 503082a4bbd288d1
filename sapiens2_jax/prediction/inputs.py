"""What is predicted from: images, and people in them."""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipelines import sources
from data_pipelines.common import storage
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from data_pipelines.corpus.records import Box, Record
from data_pipelines.sources import base
from data_pipelines.sources.folder import show_path


def open_images(
  given: str | os.PathLike, output: str | os.PathLike | None
) -> sources.ImageSource:
  """The images below a folder, those of a list, or a single one.

  Args:
    given: a folder, on a disk or in a bucket; a file that ends in .txt, with a
      path a line, relative to its folder; or an image.
    output: directory; None if nothing is written that could be an image.

  Raises:
    ValueError: there are none, or the output would become one of them.
  """
  if output is not None and _is_file(output):
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
  if output is not None and _is_within(output, given):
    raise ValueError(
      f"output={output}: lies in images={given}, and would be read as images "
      "by the next run; give another directory."
    )
  return source


def _is_file(path: str | os.PathLike) -> bool:
  return storage.exists(path) and not storage.is_directory(path)


def _is_within(output: str | os.PathLike, given: str | os.PathLike) -> bool:
  """Whether what is written to one place would be read from the other."""

  def parts(path: str | os.PathLike) -> list[str]:
    local = storage.local_path(path)
    path = storage.absolute(path) if local is None else os.path.realpath(local)
    return path.rstrip("/").split("/")

  outer = parts(given)
  return parts(output)[: len(outer)] == outer


class ListedSource(base.NamedFiles):
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
    names = [show_path(os.path.relpath(path, holder)) for path in paths]
    super().__init__(paths, names)

  def __getitem__(self, index: int) -> Record:
    image = base.read_file(self.location(index))
    return base.make_image_record(image, self.name(index))


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


def make_people(boxes: Iterable[Box]) -> Labels:
  """People of whom nothing but the boxes is known."""
  keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
  return Labels(people=tuple(Person(box, keypoints) for box in boxes))


def whole_image(size: tuple[int, int]) -> Labels:
  """One person who fills an image of (height, width) pixels."""
  height, width = size
  return make_people([(0, 0, height - 1, width - 1)])
