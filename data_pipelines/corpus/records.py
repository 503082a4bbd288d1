"""The one on-disk form of an image and what is known about it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping

import msgpack

Box = tuple[float, float, float, float]  # Top, left, height, width; pixels.

VERSION = "1.0"  # MAJOR.MINOR; a reader accepts any MINOR of its MAJOR.


@dataclasses.dataclass(frozen=True)
class Record:
  """An encoded image and where it comes from.

  Attributes:
    image: the image file's bytes exactly as found.
    height: pixels, of the upright image (after EXIF orientation).
    width: pixels, of the upright image.
    content_hash: SHA-256 of `image`, lower-case hex.
    name: label for messages, usually a relative path; need not be unique.
    source: where the image was taken from, "" if not known.
    licence: as the source states it, "" if not known.
    attribution: the credit line to print, "" if not known.
    person_boxes: (top, left, height, width) of each person in pixels of the
      upright image; () if not known.
    scores: what curation measured, name -> number; {} if nothing.
    labels: for the human tasks, as `labels.encode_labels` writes them; b"" if
      there are none.

  Raises:
    ValueError: a box or a score of another form.
  """

  image: bytes
  height: int
  width: int
  content_hash: str
  name: str
  source: str = ""
  licence: str = ""
  attribution: str = ""
  person_boxes: tuple[Box, ...] = ()
  scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
  labels: bytes = b""

  def __post_init__(self):
    for box in self.person_boxes:
      if len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"record: person_boxes: {box!r} is not four numbers.")
    for name, score in self.scores.items():
      if not isinstance(name, str) or not _is_number(score):
        raise ValueError(
          f"record: scores: {name!r}: {score!r} is not a name and a number."
        )


_REQUIRED = {
  "image": bytes,
  "height": int,
  "width": int,
  "content_hash": str,
  "name": str,
}
_OPTIONAL = {
  "source": str,
  "licence": str,
  "attribution": str,
  "person_boxes": list,
  "scores": dict,
  "labels": bytes,
}
# What may be said of an image in a JSON file beside it.
METADATA = tuple(name for name in _OPTIONAL if name != "labels")


def hash_content(image: bytes) -> str:
  """Names an image by its bytes: SHA-256, lower-case hex."""
  return hashlib.sha256(image).hexdigest()


def check_version(version: object, what: str) -> None:
  """Refuses data written by a newer MAJOR format than this code knows.

  Args:
    version: the "MAJOR.MINOR" string found.
    what: names the data in the message.

  Raises:
    ValueError: the version is not readable, or its MAJOR is newer.
  """
  major = str(version).partition(".")[0]
  if not major.isdecimal():
    raise ValueError(f'{what}: version={version!r} is not "MAJOR.MINOR".')
  if int(major) > int(VERSION.partition(".")[0]):
    raise ValueError(
      f"{what}: version={version} is newer than {VERSION}, the newest this "
      "code reads; update sapiens2_jax."
    )


def encode_record(record: Record) -> bytes:
  """Serialises a record as a msgpack map with a `version` entry."""
  fields = {name: getattr(record, name) for name in (*_REQUIRED, *_OPTIONAL)}
  return msgpack.packb({"version": VERSION, **fields})


def decode_record(data: bytes) -> Record:
  """Reads back what `encode_record` wrote; unknown fields are ignored.

  Raises:
    ValueError: not a msgpack map, a newer MAJOR version, or a field that is
      missing or of the wrong type; the message names the field.
  """
  try:
    fields = msgpack.unpackb(data)
  except (ValueError, msgpack.UnpackException) as error:
    raise ValueError(f"record: not a msgpack map ({error}).") from error
  if not isinstance(fields, dict):
    raise ValueError(f"record: not a map but {type(fields).__name__}.")
  if "version" not in fields:
    raise ValueError("record: field version is missing.")
  check_version(fields["version"], "record")
  for name in _REQUIRED:
    if name not in fields:
      raise ValueError(f"record: field {name} is missing.")
  known = {**_REQUIRED, **_OPTIONAL}
  return make_record(**{name: fields[name] for name in known if name in fields})


def make_record(**fields) -> Record:
  """Makes a record of fields that come from a file.

  Args:
    **fields: those of `Record`; `person_boxes` may be lists.

  Raises:
    ValueError: a field of the wrong type; the message names it.
  """
  for name, expected in {**_REQUIRED, **_OPTIONAL}.items():
    if name in fields and type(fields[name]) is not expected:
      raise ValueError(
        f"record: field {name} is {type(fields[name]).__name__}, "
        f"expected {expected.__name__}."
      )
  boxes = fields.pop("person_boxes", [])
  if not all(isinstance(box, list) for box in boxes):
    raise ValueError("record: field person_boxes is not a list of lists.")
  return Record(**fields, person_boxes=tuple(map(tuple, boxes)))


def _is_number(value: object) -> bool:
  if type(value) is int:
    return -(2**63) <= value < 2**63  # What msgpack can hold.
  return type(value) is float and math.isfinite(value)
