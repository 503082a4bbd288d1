"""What measures images: the interface, and its types of columns."""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

import numpy as np

Image = np.ndarray  # (h, w, 3) uint8 RGB, upright; any size; read-only.


class Scorer(Protocol):
  """Columns of numbers about images. Picklable before `load`.

  What it says of an image depends on that image alone, not on the others of
  the call.

  Attributes:
    name: prefix of its columns: "quality" gives "quality_sharpness".
    columns: column without prefix -> "float32", "int32", "bool", "string",
      "list<float32>" or "binary".
  """

  name: str
  columns: dict[str, str]

  def fingerprint(self) -> str:
    """Hash of model files, settings and version; equal means equal columns."""

  def load(self) -> None:
    """Opens models; called once in each process."""

  def score(self, images: list[Image], earlier: list[dict]) -> list[dict]:
    """Measures images.

    Args:
      images: of any sizes.
      earlier: for each, the columns (with prefix) of the scorers before.

    Returns:
      For each image one value of each of `columns`; None: not known.
    """


def hash_settings(*settings: object) -> str:
  """A fingerprint of what JSON can hold."""
  text = json.dumps(settings, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
