"""The body's rest pose, so that tests of keypoints need no assets."""

import functools

import numpy as np

from tests import golden


@functools.cache
def rest_vertices() -> np.ndarray:
  """(19158, 3) float32 metres: base.obj's vertices (CC0), to 0.1 mm."""
  with np.load(golden.DATA / "base_mesh.npz") as stored:
    return stored["tenths_of_mm"].astype(np.float32) * np.float32(1e-4)
