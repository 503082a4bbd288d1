"""The PDQ hash: near-duplicates differ in few of its 256 bits."""

from __future__ import annotations

import cv2
import numpy as np

from data_pipelines.common import packages
from data_pipelines.curation.scorers import base

_VERSION = 1
_SIZE = 512  # PDQ looks at 64 x 64; larger images are shrunk to this first.


class Hashes:
  """PDQ of an image, 32 bytes, and its quality, 0 to 100.

  The quality is low where there is little to tell images apart by (PDQ's
  authors do not compare below 50).

  Source: PDQ, Facebook 2019; by the package pdqhash.
  """

  name = "hashes"
  columns = {"pdq": "binary", "pdq_quality": "int32"}

  def fingerprint(self) -> str:
    return base.hash_settings(self.name, _VERSION)

  def load(self) -> None:
    self._compute = packages.require("pdqhash", "curation").compute

  def score(self, images: list[base.Image], earlier: list[dict]) -> list[dict]:
    return [self._score(image) for image in images]

  def _score(self, image: base.Image) -> dict:
    scale = _SIZE / max(image.shape[:2])
    if scale < 1:
      size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
      image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bits, quality = self._compute(np.ascontiguousarray(image))
    pdq = np.packbits(np.asarray(bits, np.uint8)).tobytes()
    return {"pdq": pdq, "pdq_quality": int(quality)}
