"""Stages on a corpus of rendered people, of whom every pixel is known."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.common import images
from data_pipelines.corpus import labels as corpus_labels
from data_pipelines.curation import scorers, units
from data_pipelines.curation.photographs import judging, labels
from data_pipelines.curation.scorers import geometry, mask, person
from data_pipelines.sources import array_record


def look(corpus: str | os.PathLike, models: str | None) -> list[dict]:
  """What stages say of each record of `data_pipelines.synthetic`.

  Returns:
    For each its columns; with a box, "iou" of masked pixels in it, "true" and
    "found" (the shares of it), and "cut", whether the lower half of the person
    cut away shows in `borders`.
  """
  names = "person", "render", "safety", "mask"
  made = [scorers.make_scorer(name, models=models) for name in names]
  for scorer in made:
    scorer.load()
  return [
    _look_at(record.image, record.labels, made)
    for record in array_record.ArrayRecordSource(corpus)
  ]


def _look_at(data: bytes, known: bytes, made: list) -> dict:
  people, *_, masks = made
  image = images.decode_image(data)
  columns = {}
  for scorer in made:
    (found,) = scorer.score([image], [columns])
    columns |= units.name_columns(scorer, found)
  box = geometry.largest(person.read_boxes(columns))
  if box is None:
    return columns
  alpha = corpus_labels.decode_labels(known, ("alpha",)).alpha
  piece, inside = mask.cut_box(np.repeat(alpha[..., None], 3, axis=2), box)
  truth = piece[..., 0][inside] >= 128
  found = masks.segment(image, box)
  middle = round(float(box[1] + box[3]) / 2)
  whole = columns["mask_borders"]
  columns |= compare(truth, found)
  if whole == 0 and middle >= 1:
    upper = np.ascontiguousarray(image[:middle])
    (seen,) = people.score([upper], [{}])
    (cut,) = masks.score([upper], [units.name_columns(people, seen)])
    columns["cut"] = (cut["borders"] or 0) > 0
  return columns


def compare(truth: np.ndarray, found: np.ndarray) -> dict:
  """Of two (rows, cols) masks: shares, and intersection by union."""
  union = (truth | found).sum()
  return {
    "true": float(truth.mean()),
    "found": float(found.mean()),
    "iou": float((truth & found).sum() / union) if union else 1.0,
  }


def judge(seen: Sequence[dict]) -> Iterator[str]:
  """Lines about rendered people."""
  count = len(seen)
  people = sum(one["person_score"] >= judging.MIN_PERSON for one in seen)
  yield labels.describe("person recall", people, count)
  photos = sum(
    one["render_photo_probability"] < judging.MIN_PHOTO for one in seen
  )
  yield labels.describe("rendered, recall", photos, count)
  unsafe = sum(one["safety_nsfw"] > judging.MAX_NSFW for one in seen)
  yield labels.describe("safety left out", unsafe, count)
  masked = [one for one in seen if "iou" in one]
  if masked:
    ious = np.array([one["iou"] for one in masked])
    errors = np.array([abs(one["found"] - one["true"]) for one in masked])
    yield labels.describe("mask IoU of 0.8 or more", (ious >= 0.8).sum(), count)
    for what, values in (("mask IoU", ious), ("share is off by", errors)):
      ends = " ".join(
        f"{v:.2f}" for v in np.quantile(values, (0.05, 0.5, 0.95))
      )
      yield f"{what}: 5 %, median, 95 %: {ends}"
  cuts = [one["cut"] for one in seen if "cut" in one]
  yield labels.describe("cut through the middle, seen", sum(cuts), len(cuts))
