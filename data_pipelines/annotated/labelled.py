"""What the sources of labelled images have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from data_pipelines.annotated import files
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels, encode_labels
from data_pipelines.sources import base

_MAPS = ("alpha", "parts", "normal", "depth", "albedo", "foreground")


class LabelledSource:
  """Images of known paths, each read with its labels when it is asked for.

  A subclass says what the labels are. An `ImageSource`.
  """

  def __init__(self, paths: Sequence[str], names: Sequence[str]):
    """Takes paths or URLs of images, and what to call them in messages."""
    self._paths = list(paths)
    self._names = list(names)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The labels of one image, whose record has none yet.

    Raises:
      ImageDecodeError: they are of no use.
      ShardReadError: a file cannot be read.
    """
    raise NotImplementedError

  def metadata(self, index: int) -> Mapping[str, object]:
    """What else is known: some fields of `records.METADATA`."""
    return {}

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> records.Record:
    path = self.location(index)
    record = base.make_image_record(files.read(path), self.name(index))
    labels = self.read_labels(index, record)
    size = (record.height, record.width)
    for name in _MAPS:
      array = getattr(labels, name)
      if array is not None and array.shape[:2] != size:
        raise files.bad_labels(
          path, f"{name} is {array.shape[:2]}, the upright image {size}"
        )
    return dataclasses.replace(
      record,
      person_boxes=tuple(person.box for person in labels.people or ()),
      labels=encode_labels(labels),
      **self.metadata(index),
    )

  def name(self, index: int) -> str:
    """The image's path, relative where the annotations say so."""
    base.check_index(index, len(self))
    return self._names[index]

  def location(self, index: int) -> str:
    base.check_index(index, len(self))
    return self._paths[index]

  def identity(self) -> str:
    """Of the names of the images; what is in them is not known."""
    return base.hash_texts(self._names)
