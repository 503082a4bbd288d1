"""Scorer: the people in an image, by two detectors, faces and poses."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from data_pipelines.curation.scorers import (
  decoding,
  faces,
  geometry,
  inference,
  poses,
)
from data_pipelines.curation.scorers.base import Image

_VERSION = 1
_LOWEST = 0.1  # Peaks below it are no evidence.
_EVIDENCE_LOWEST = 0.3  # The same for the detectors of MediaPipe.
# What NanoDet was trained with: mean and deviation of blue, green, red.
_MEAN = np.float32([103.53, 116.28, 123.675])
_DEVIATION = np.float32([57.375, 57.12, 58.395])
# Of the evidence in the order of `EVIDENCE`, then the constant. Fitted by
# `data_pipelines.curation.photographs` on its tune half.
WEIGHTS = np.float64([6.2, 4.9, 1.8, 4.1, -5.3])
EVIDENCE = ("centernet", "nanodet", "face", "pose")


class PersonScorer:
  """Boxes of people, and how sure it is that somebody is there at all.

  CenterNet and NanoDet see the whole image; a face counts as far as its mesh
  confirms it, a body as far as its landmarks do. A logistic function of the
  four is the score. People who are drawn or rendered count as people: that is
  for another scorer to tell. Crowds of people each smaller than about 1/10 of
  the image are missed.
  """

  name = "person"
  columns = {
    "score": "float32",  # that there is a person, in [0, 1]
    "count": "int32",  # boxes
    "short_side": "float32",  # of the largest box in pixels, 0: no box
    "boxes": "list<float32>",  # left, top, right, bottom of each in pixels
    "box_scores": "list<float32>",
    **dict.fromkeys(EVIDENCE, "float32"),  # each in [0, 1]
  }

  def __init__(
    self,
    *,
    min_score: float = 0.5,
    min_box_score: float = 0.35,
    models: str | os.PathLike | None = None,
  ):
    """Sets what counts.

    Args:
      min_score: below it an image has no boxes.
      min_box_score: of a detector's box; where none has it, the best one
        stands, or what face and body show.
      models: the folder of models; None is that of `cache.find_root`.
    """
    self._settings = {"min_score": min_score, "min_box_score": min_box_score}
    self._models = models

  def fingerprint(self) -> str:
    weights = WEIGHTS.tolist()
    settings = {**self._settings, "weights": weights}
    return inference.fingerprint(self.name, _VERSION, **settings)

  def load(self) -> None:
    self._centernet = inference.open_model("centernet", self._models)
    self._nanodet = inference.open_model("nanodet", self._models)
    self._faces = faces.FaceFinder(_EVIDENCE_LOWEST, self._models)
    self._poses = poses.PoseFinder(_EVIDENCE_LOWEST, self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [self._score_one(image) for image in images]

  def _score_one(self, image: Image) -> dict:
    detected = self._detect_centernet(image), self._detect_nanodet(image)
    found_faces = self._faces.find(image)
    bodies = self._poses.find(image)
    evidence = (
      *(float(scores.max(initial=0)) for _, scores in detected),
      max((face.score * face.mesh_score for face in found_faces), default=0.0),
      max((body.score * body.landmark_score for body in bodies), default=0.0),
    )
    score = combine(evidence)
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    if score >= self._settings["min_score"]:
      boxes, scores = self._choose(detected, found_faces, bodies, image)
    return {
      "score": score,
      "count": len(boxes),
      "short_side": geometry.short_side(boxes),
      "boxes": boxes.ravel().tolist(),
      "box_scores": scores.tolist(),
      **dict(zip(EVIDENCE, evidence)),
    }

  def _detect_centernet(self, image: Image) -> tuple[np.ndarray, np.ndarray]:
    side = decoding.CENTERNET_SIDE
    given = np.float32(geometry.shrink(image, (side, side))[None])
    heatmap, extents = self._centernet(given)
    size = image.shape[:2]
    return decoding.decode_centernet(heatmap[0], extents[0], size, _LOWEST)

  def _detect_nanodet(self, image: Image) -> tuple[np.ndarray, np.ndarray]:
    side = decoding.NANODET_SIDE
    pixels = np.float32(geometry.shrink(image, (side, side))[..., ::-1])
    pixels = (pixels - _MEAN) / _DEVIATION
    given = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    layers = self._nanodet(given)
    size = image.shape[:2]
    return decoding.decode_nanodet([a[0] for a in layers], size, _LOWEST)

  def _choose(
    self,
    detected: tuple,
    found_faces: list[faces.Face],
    bodies: list[poses.Body],
    image: Image,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the detectors, and of evidence that none of them covers."""
    boxes = np.concatenate([boxes for boxes, _ in detected])
    scores = np.concatenate([scores for _, scores in detected])
    sure = scores >= self._settings["min_box_score"]
    others = [(b.box, b.score * b.landmark_score) for b in bodies]
    others += [
      (grow_face(f.box, image.shape[:2]), f.score * f.mesh_score)
      for f in found_faces
    ]
    if not sure.any() and not any(s >= 0.5 for _, s in others):
      sure = scores == scores.max(initial=0)
    boxes, scores = boxes[sure], scores[sure]
    kept = geometry.suppress(boxes, scores, 0.5)
    boxes, scores = boxes[kept], scores[kept]
    for box, other in others:
      common = geometry.intersections(box, boxes).max(initial=0)
      if other >= 0.5 and common < 0.5 * geometry.areas(box)[0]:
        boxes = np.concatenate([boxes, box[None]])
        scores = np.concatenate([scores, np.float32([other])])
    return boxes.astype(np.float32), scores.astype(np.float32)


def combine(evidence: tuple[float, ...]) -> float:
  """The score of an image from its `EVIDENCE`, each in [0, 1]."""
  total = float(np.dot(WEIGHTS[:-1], evidence) + WEIGHTS[-1])
  return 1 / (1 + float(np.exp(-total)))


def grow_face(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """What a person with such a face at least takes: head and shoulders.

  Args:
    box: (4,) of the face.
    size: (height, width) of the image, which cuts it off.
  """
  width, height = box[2:] - box[:2]
  wide = np.float32([-0.5 * width, -0.5 * height, 0.5 * width, height])
  return geometry.clip(box + wide, size)[0]


def read_boxes(known: Mapping) -> np.ndarray:
  """(n, 4) boxes out of the columns of an image; none if not known."""
  boxes = known.get("person_boxes")
  return np.float32(boxes if boxes is not None else []).reshape(-1, 4)
