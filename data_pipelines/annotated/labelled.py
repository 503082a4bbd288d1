"""What the sources of labelled images have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from data_pipelines.annotated import files, turning
from data_pipelines.common import images
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import MAPS, Labels, encode_labels
from data_pipelines.sources import base

Size = tuple[int, int]  # Height and width in pixels.


class LabelledSource(base.NamedFiles):
  """Images of known paths, each read with its labels when it is asked for.

  A subclass says what the labels are. An `ImageSource`.

  A photograph that EXIF turns is shown turned, and nobody but its annotator
  knows whether the labels are of the pixels as stored or upright. Where their
  size tells that they are upright, they are taken so. Else `exif` has to say
  it, or the image is left out.

  Attributes:
    notes: lines for people: what was left out of the annotations, and what
      they do not say.
    annotations: hash of the file that they are listed in; "" without one.
  """

  notes: tuple[str, ...] = ()
  annotations: str = ""

  def __init__(
    self,
    paths: Sequence[str],
    names: Sequence[str],
    exif: str | None = None,
  ):
    """Takes paths or URLs of images, and what to call them in messages.

    Args:
      paths: of the images.
      names: of the images.
      exif: "stored": labels of photographs that EXIF turns are of the pixels
        as stored, and are turned with them; "upright": they are as shown.
    """
    super().__init__(paths, names)
    self._exif = exif

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The labels of one image.

    Args:
      index: of the image.
      record: without labels; its size is that of the image as they see it.

    Raises:
      ImageDecodeError: they are of no use.
      ShardReadError: a file cannot be read.
    """
    raise NotImplementedError

  def sizes(self, index: int, labels: Labels) -> Mapping[str, Size]:
    """What labels say of the size of their image: where -> size."""
    found = {name: labels.get(name) for name in MAPS}
    return {k: v.shape[:2] for k, v in found.items() if v is not None}

  def exif(self, index: int) -> str | None:
    """Which way up the labels of one image are; None if it is not known."""
    return self._exif

  def metadata(self, index: int) -> Mapping[str, object]:
    """What else is known: some fields of `records.METADATA`."""
    return {}

  def __getitem__(self, index: int) -> records.Record:
    path = self.location(index)
    record = base.make_image_record(files.read(path), self.name(index))
    labels = self._read_upright(index, record)
    return dataclasses.replace(
      record,
      person_boxes=tuple(person.box for person in labels.people or ()),
      labels=encode_labels(labels),
      **self.metadata(index),
    )

  def identity(self) -> str:
    """Of names, `exif` and the list; what is in other files is not known."""
    return base.hash_texts([self._exif, self.annotations, *self._names])

  def _read_upright(self, index: int, record: records.Record) -> Labels:
    """The labels of the image as it is shown."""
    path = self.location(index)
    stored, orientation = images.read_header(record.image)
    is_turned = orientation != 1
    exif = self.exif(index) if is_turned else turning.UPRIGHT
    is_stored = exif == turning.STORED
    shown = record.height, record.width
    size = stored if is_stored else shown
    seen = dataclasses.replace(record, height=size[0], width=size[1])
    labels = self.read_labels(index, seen)
    sizes = self.sizes(index, labels)
    if exif is None and (not sizes or stored in sizes.values()):
      known = "nothing tells whether its labels are turned, too"
      advice = "exif=stored (they are not) or exif=upright (they are)"
      if sizes and stored != shown:
        known = "its labels are as stored, by their size"
        advice = "exif=stored"
      raise images.ImageDecodeError(
        "turned by EXIF",
        f"{path}: orientation {orientation}; {known}; say {advice}",
      )
    for name, found in sizes.items():
      if found != size:
        kind = "stored" if is_stored else "upright"
        raise files.bad_labels(
          path, f"{name} is {found}, the {kind} image {size}"
        )
    if is_stored:
      labels = turning.turn_labels(labels, orientation, stored)
    return labels
