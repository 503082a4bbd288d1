"""Scorer: how likely an image is a photograph, not drawn or rendered."""

from __future__ import annotations

import functools
import json
import os
import pathlib

import numpy as np

from data_pipelines.curation.scorers import decoding, geometry, inference
from data_pipelines.curation.scorers.base import Image

_VERSION = 1
WEIGHTS = pathlib.Path(__file__).with_name("render.json")


class RenderScorer:
  """A photograph, or a drawing, a render, a screenshot?

  A logistic function of what CenterNet's backbone puts out, pooled over the
  image. It was fitted on few hundred images of web themes, so it says how far
  an image is like photographs there; it knows nothing of beauty, nor of
  generators of photographs. `data_pipelines.curation.photographs.train_render`
  makes the weights.
  """

  name = "render"
  columns = {"photo_probability": "float32"}  # in [0, 1], both kinds even

  def __init__(self, *, models: str | os.PathLike | None = None):
    self._models = models
    self._run: inference.Run | None = None

  def fingerprint(self) -> str:
    return inference.fingerprint(self.name, _VERSION, weights=_read_weights())

  def load(self) -> None:
    self._run = inference.open_model("backbone", self._models)

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    return [
      {"photo_probability": combine(self.embed(image))} for image in images
    ]

  def embed(self, image: Image) -> np.ndarray:
    """(176,) float64: mean and deviation of each channel over the image."""
    side = decoding.CENTERNET_SIDE
    given = np.float32(geometry.shrink(image, (side, side))[None])
    (made,) = self._run(given)
    cells = made[0].reshape(-1, made.shape[-1]).astype(np.float64)
    return np.concatenate([cells.mean(axis=0), cells.std(axis=0)])


def combine(features: np.ndarray) -> float:
  """The probability of a photograph from what `embed` gives."""
  weights = np.array(_read_weights())
  total = float(weights[:-1] @ features + weights[-1])
  return float(decoding.sigmoid(np.float64(total)))


@functools.cache
def _read_weights() -> tuple[float, ...]:
  """Of each feature, then the constant."""
  return tuple(json.loads(WEIGHTS.read_text())["weights"])
