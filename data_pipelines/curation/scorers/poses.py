"""Bodies: MediaPipe's pose detector, confirmed by its landmarks."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from data_pipelines.curation.scorers import decoding, geometry, inference
from data_pipelines.curation.scorers.base import Image

_DETECTOR_SIDE, _LANDMARK_SIDE = 224, 256
_ANCHORS = decoding.make_anchors(_DETECTOR_SIDE, ((8, 2), (16, 2), (32, 6)))
_MARGIN = 1.25  # MediaPipe: beyond the circle around the body.
_NUM_LANDMARKS = 33
_MAX_BODIES = 2


@dataclasses.dataclass(frozen=True)
class Body:
  """A body that the landmarks confirm to some degree."""

  box: np.ndarray  # (4,) around the visible landmarks, in pixels of the image
  score: float  # the detector's, in [0, 1]
  landmark_score: float  # in [0, 1]


class PoseFinder:
  """Finds one or two large bodies.

  Source: the files and settings of MediaPipe 0.10.21, Apache-2.0; the
  decoding is ours.
  """

  def __init__(self, min_score: float, models: str | os.PathLike | None):
    self._min_score = min_score
    self._detect = inference.open_model("pose_detection", models)
    self._landmark = inference.open_model("pose_landmark", models)

  def find(self, image: Image) -> list[Body]:
    """Bodies, the surest first."""
    piece, whole = geometry.letterbox(image, _DETECTOR_SIDE)
    raw, logits = self._detect(np.float32(piece[None]) / 127.5 - 1)
    _, points, scores = decoding.decode_anchors(
      raw[0], logits[0, :, 0], _ANCHORS, self._min_score
    )
    return [
      self._confirm(
        image, geometry.to_image(p, whole, _DETECTOR_SIDE), float(score)
      )
      for p, score in zip(points[:_MAX_BODIES], scores)
    ]

  def _confirm(self, image: Image, points: np.ndarray, score: float) -> Body:
    # The hips' middle, and where a circle around the body meets its axis.
    up = points[1] - points[0]
    square = geometry.Square(
      tuple(points[0]),
      2 * _MARGIN * float(np.linalg.norm(up)),
      float(np.arctan2(up[0], -up[1])),
    )
    piece = geometry.cut(image, square, _LANDMARK_SIDE)
    landmarks, sure, *_ = self._landmark(np.float32(piece[None]) / 255)
    found = landmarks.reshape(-1, 5)[:_NUM_LANDMARKS]
    places = geometry.to_image(found[:, :2], square, _LANDMARK_SIDE)
    seen = places[decoding.sigmoid(found[:, 3]) > 0.5]
    if not len(seen):
      seen = points[:1]
    box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    box = geometry.clip(box, image.shape[:2])[0]
    return Body(box, score, float(sure.ravel()[0]))
