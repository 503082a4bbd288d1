"""A checkpoint of ours as a scorer of curation: [cls] of each image."""

from __future__ import annotations

import os

import jax
import numpy as np

from data_pipelines.common import storage
from data_pipelines.curation.scorers import base
from data_pipelines.curation.scorers import embedding as embeddings
from sapiens2_jax.interop.load import build_encoder, to_device
from sapiens2_jax.interop.weights import find_weights, read_weights
from sapiens2_jax.models import pixels as pixel_lib

_VERSION = 1


class CheckpointScorer:
  """What our encoder says of an image, squeezed into a size.

  Images go one by one: in a batch the last bits of one could depend on the
  others. Computes in float32 on the default device.
  """

  name = embeddings.NAME
  columns = embeddings.COLUMNS

  def __init__(self, path: str | os.PathLike, image_size: tuple[int, int]):
    """Finds the weights; they are read by `load`.

    Args:
      path: as of `load_pretrained`; of a run its newest checkpoint now.
      image_size: (height, width) in pixels.

    Raises:
      ValueError: there are no weights.
    """
    self._found = find_weights(storage.absolute(path))
    self._size = tuple(image_size)

  def fingerprint(self) -> str:
    found = self._found
    return base.hash_settings(
      self.name,
      _VERSION,
      *(found.kind, found.weights, found.step, found.fingerprint),
      list(self._size),
    )

  def load(self) -> None:
    """Raises ValueError if the weights are damaged, or not those found."""
    weights = read_weights(self._found, "float32")
    encoder = build_encoder(weights)
    params = to_device(weights.encoder_params)

    @jax.jit
    def run(params, image):
      images = pixel_lib.from_uint8(image)[None]
      return encoder.apply({"params": params}, images).cls[0]

    self._run = lambda image: run(params, image)

  def score(self, images: list[base.Image], earlier: list[dict]) -> list[dict]:
    return [self._score(image) for image in images]

  def _score(self, image: base.Image) -> dict:
    found = np.asarray(self._run(embeddings.resize(image, self._size)))
    return {"vector": found.astype(np.float32).tolist()}
