"""Records as TFDS examples, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.common import images
from data_pipelines.corpus import records

Box = tuple[float, float, float, float]

_NUMBERS = ("height", "width")
_TEXTS = ("content_hash", "name", "source", "licence", "attribution")


class UprightImage(tfds.features.Image):
  """An image file that decodes to (h, w, 3) uint8 RGB, upright.

  TFDS's own feature leaves an image lying on its side where its EXIF block
  says so, and gives transparent and CMYK images four channels.
  """

  def encode_example(self, image: bytes) -> bytes:
    """Keeps the file as it is."""
    return image

  def decode_example_np(self, example: bytes) -> np.ndarray:
    """Decodes any kind that a corpus may hold, or raises ImageDecodeError."""
    return images.decode_image(example)


def make_features() -> tfds.features.FeaturesDict:
  """The fields of a record, as TFDS features."""
  return tfds.features.FeaturesDict(
    {
      "image": UprightImage(doc="The image file exactly as found."),
      "height": tfds.features.Scalar(np.int32, doc="Pixels, upright."),
      "width": tfds.features.Scalar(np.int32, doc="Pixels, upright."),
      "content_hash": tfds.features.Text(doc="SHA-256 of the image file, hex."),
      "name": tfds.features.Text(doc="A label, usually a relative path."),
      "source": tfds.features.Text(doc="Where it is from; empty: unknown."),
      "licence": tfds.features.Text(doc="As the source states it."),
      "attribution": tfds.features.Text(doc="The credit line to print."),
      "person_boxes": tfds.features.Sequence(
        tfds.features.BBoxFeature(),
        doc="ymin, xmin, ymax, xmax of each person, as fractions of the "
        "upright height and width, cut at the image's edges.",
      ),
      "scores": tfds.features.Sequence(
        {"name": tfds.features.Text(), "value": np.float32},
        doc="What curation measured.",
      ),
    }
  )


def to_example(record: records.Record) -> dict[str, object]:
  """Makes an example for `make_features` of a record.

  Raises:
    ValueError: a box of negative size; the message names the record.
  """
  for box in record.person_boxes:
    if min(box[2:]) < 0:
      raise ValueError(f"{record.name}: person_boxes: negative size: {box}.")
  return {
    **{name: getattr(record, name) for name in ("image", *_NUMBERS, *_TEXTS)},
    "person_boxes": [
      _to_bbox(box, record.height, record.width) for box in record.person_boxes
    ],
    "scores": [
      {"name": name, "value": score} for name, score in record.scores.items()
    ],
  }


def to_record(example: Mapping[str, object]) -> records.Record:
  """Makes a record; its image is not decoded, boxes and scores are float32."""
  scores = example["scores"]
  return records.Record(
    image=example["image"],
    person_boxes=tuple(
      _from_bbox(box.tolist(), example["height"], example["width"])
      for box in example["person_boxes"]
    ),
    scores={
      name.decode("utf-8"): float(score)
      for name, score in zip(scores["name"], scores["value"])
    },
    **{name: int(example[name]) for name in _NUMBERS},
    **{name: example[name].decode("utf-8") for name in _TEXTS},
  )


def _to_bbox(box: Box, height: int, width: int) -> tfds.features.BBox:
  top, left, box_height, box_width = box
  ends = (top + box_height) / height, (left + box_width) / width
  edges = top / height, left / width, *ends
  return tfds.features.BBox(*(min(max(edge, 0.0), 1.0) for edge in edges))


def _from_bbox(box: list[float], height: int, width: int) -> Box:
  ymin, xmin, ymax, xmax = box
  size = (ymax - ymin) * height, (xmax - xmin) * width
  return ymin * height, xmin * width, *size
