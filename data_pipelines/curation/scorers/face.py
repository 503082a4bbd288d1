"""Scorer: the largest face, and how the head is turned."""

from __future__ import annotations

import os

from data_pipelines.curation.scorers import faces, inference
from data_pipelines.curation.scorers.base import Image

_VERSION = 1


class FaceScorer:
  """The largest face that the mesh confirms.

  Found faces look into the camera or to the side; those in profile, from
  behind and under some 1/25 of the image's longer side are missed. That no
  face was found says nothing about whether there is a person.
  """

  name = "face"
  columns = {
    "count": "int32",  # faces that the mesh confirms, 8 at most
    "score": "float32",  # of the mesh, in [0, 1]; 0: no face
    "short_side": "float32",  # pixels
    "box": "list<float32>",  # left, top, right, bottom in pixels
    "yaw": "float32",  # degrees, see `faces.head_pose`
    "pitch": "float32",
    "roll": "float32",
  }

  def __init__(
    self,
    *,
    min_score: float = 0.3,
    min_mesh_score: float = 0.5,
    models: str | os.PathLike | None = None,
  ):
    self._settings = {"min_score": min_score, "min_mesh_score": min_mesh_score}
    self._models = models
    self._finder: faces.FaceFinder | None = None

  def fingerprint(self) -> str:
    return inference.fingerprint(self.name, _VERSION, **self._settings)

  def load(self) -> None:
    self._finder = faces.FaceFinder(self._settings["min_score"], self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [self._score_one(image) for image in images]

  def _score_one(self, image: Image) -> dict:
    limit = self._settings["min_mesh_score"]
    found = [f for f in self._finder.find(image) if f.mesh_score >= limit]
    if not found:
      known = {"count": 0, "score": 0.0, "short_side": 0.0, "box": []}
      return {**dict.fromkeys(self.columns), **known}
    face = found[0]
    yaw, pitch, roll = faces.head_pose(face.landmarks)
    return {
      "count": len(found),
      "score": face.mesh_score,
      "short_side": float(min(face.box[2:] - face.box[:2])),
      "box": face.box.tolist(),
      "yaw": yaw,
      "pitch": pitch,
      "roll": roll,
    }
