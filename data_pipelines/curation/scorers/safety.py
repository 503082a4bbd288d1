"""Scorer: how likely an image is not safe for work."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image as pil

from data_pipelines.curation.scorers import inference
from data_pipelines.curation.scorers.base import Image

_VERSION = 1
_RESIZED, _SIDE = 256, 224
_MEAN = np.float32([104, 117, 123])  # blue, green, red


class SafetyScorer:
  """Yahoo's open_nsfw, resized and cut as its authors did.

  Their round trip through JPEG is left out. Nothing here was measured on
  images that are not safe: a threshold is for the reader to choose.
  """

  name = "safety"
  columns = {"nsfw": "float32"}  # in [0, 1]

  def __init__(self, *, models: str | os.PathLike | None = None):
    self._models = models
    self._run: inference.Run | None = None

  def fingerprint(self) -> str:
    return inference.fingerprint(self.name, _VERSION)

  def load(self) -> None:
    self._run = inference.open_model("open_nsfw", self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [{"nsfw": self._score_one(image)} for image in images]

  def _score_one(self, image: Image) -> float:
    resized = pil.fromarray(image).resize(
      (_RESIZED, _RESIZED), pil.Resampling.BILINEAR
    )
    start = (_RESIZED - _SIDE) // 2
    piece = np.asarray(resized)[start:, start:][:_SIDE, :_SIDE, ::-1]
    (scores,) = self._run(np.ascontiguousarray(piece - _MEAN)[None])
    return float(scores[0, 1])
