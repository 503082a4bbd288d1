"""Faces: a detector, a mesh that says whether it is one, the head's angles."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from data_pipelines.curation.scorers import decoding, geometry, inference
from data_pipelines.curation.scorers.base import Image

_DETECTOR_SIDE = _MESH_SIDE = 192
_ANCHORS = decoding.make_anchors(_DETECTOR_SIDE, ((4, 1),))
_EYES = (
  0,
  1,
)  # Of the detector's points; at the image's left first.
_MARGIN = 1.5  # MediaPipe: the mesh sees this much more than the box.
_MAX_FACES = 8  # Meshes of the largest only; time in a crowd is limited.
# Points of the mesh, image's left to right: eyes, temples, mouth.
_ACROSS = ((33, 263), (234, 454), (61, 291))
_DOWN = (10, 152)  # Top of the forehead to the chin.


@dataclasses.dataclass(frozen=True)
class Face:
  """A face that the mesh confirms to some degree."""

  box: np.ndarray  # (4,) in pixels of the image
  score: float  # the detector's, in [0, 1]
  mesh_score: float  # in [0, 1]
  landmarks: np.ndarray  # (468, 3) in pixels of the image; depth grows away


class FaceFinder:
  """MediaPipe's full-range detector and its face mesh.

  Source: the files and settings of MediaPipe 0.10.21, Apache-2.0; the
  decoding is ours.
  """

  def __init__(self, min_score: float, models: str | os.PathLike | None):
    self._min_score = min_score
    self._detect = inference.open_model("face_detection", models)
    self._mesh = inference.open_model("face_landmark", models)

  def find(self, image: Image) -> list[Face]:
    """All faces, the largest first."""
    piece, whole = geometry.letterbox(image, _DETECTOR_SIDE)
    raw, logits = self._detect(np.float32(piece[None]) / 127.5 - 1)
    found = decoding.decode_anchors(
      raw[0], logits[0, :, 0], _ANCHORS, self._min_score
    )
    order = np.argsort(-geometry.areas(found[0]), kind="stable")[:_MAX_FACES]
    return [
      self._confirm(image, whole, *(values[i] for values in found))
      for i in order
    ]

  def _confirm(
    self,
    image: Image,
    whole: geometry.Square,
    box: np.ndarray,
    points: np.ndarray,
    score: float,
  ) -> Face:
    corners = geometry.to_image(box.reshape(2, 2), whole, _DETECTOR_SIDE)
    eyes = geometry.to_image(points[list(_EYES)], whole, _DETECTOR_SIDE)
    across = eyes[1] - eyes[0]
    square = geometry.Square(
      tuple(corners.mean(axis=0)),
      float(np.max(corners[1] - corners[0])) * _MARGIN,
      float(np.arctan2(across[1], across[0])),
    )
    piece = geometry.cut(image, square, _MESH_SIDE)
    mesh, logit = self._mesh(np.float32(piece[None]) / 255)
    landmarks = geometry.to_image(mesh.reshape(-1, 3), square, _MESH_SIDE)
    mesh_score = float(decoding.sigmoid(logit).ravel()[0])
    box = geometry.clip(corners.ravel(), image.shape[:2])[0]
    return Face(box, float(score), mesh_score, landmarks)


def head_pose(landmarks: np.ndarray) -> tuple[float, float, float]:
  """How a head is turned.

  Args:
    landmarks: (468, 3) of the face mesh: x to the right, y down, depth away
      from the camera, all in one unit.

  Returns:
    Degrees: yaw in [-180, 180], positive if the face looks towards the right
    of the image; pitch in [-90, 90], positive if up; roll in [-180, 180],
    positive if the head is turned clockwise. Of a face that looks into the
    camera all are 0. They are those of the mesh's axes, no trained head pose
    network, and were checked against known rotations only.
  """
  across = sum(_unit(landmarks[b] - landmarks[a]) for a, b in _ACROSS)
  x = _unit(across)
  down = landmarks[_DOWN[1]] - landmarks[_DOWN[0]]
  y = _unit(down - np.dot(down, x) * x)
  z = np.cross(x, y)  # Into the head; the face looks along -z.
  yaw = np.arctan2(-z[0], z[2])
  pitch = np.arcsin(np.clip(z[1], -1, 1))
  roll = np.arctan2(x[1], y[1])
  return tuple(float(np.degrees(angle)) for angle in (yaw, pitch, roll))


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / max(float(np.linalg.norm(vector)), 1e-9)
