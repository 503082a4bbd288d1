"""Files and pictures of pointmaps."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.fields import Field
from sapiens2_jax.tasks.base import Image, Task
from sapiens2_jax.tasks.files import Files, to_npy
from sapiens2_jax.tasks.output import FOREGROUND, Output, without_background
from sapiens2_jax.tasks.pointmap.drawing import depth_bounds, draw_depth
from sapiens2_jax.tasks.pointmap.metric import PointArray
from sapiens2_jax.tasks.pointmap.task import Points

_DEPTH = ("depth", ".npy")
_VERTEX = np.dtype([("place", "<f4", 3), ("color", "u1", 3)])
_HEADER = """ply
format binary_little_endian 1.0
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


class PointmapOutput(Output):
  """See `Output`; one scale of colours for all pictures of a run."""

  options = {
    **FOREGROUND,
    "ply": Field(False, "Also write points with their colours as .ply."),
  }
  reads = (_DEPTH,)
  draws_last = True

  def __init__(self, task: Task, chosen: Mapping[str, Any]):
    super().__init__(task, chosen)
    self._bounds: tuple[float, float] | None = None

  def encode(self, image: Image, prediction: Points, labels: Labels) -> Files:
    """Metres: depth, and points."""
    points = without_background(prediction.points, labels)
    self._widen(depth_bounds(points[..., 2]))
    files = {
      _DEPTH: to_npy(points[..., 2]),
      ("pointmaps", ".npy"): to_npy(points),
    }
    if self.chosen["ply"]:
      files["pointmaps", ".ply"] = to_ply(image, points)
    return files

  def _widen(self, bounds: tuple[float, float] | None) -> None:
    if bounds and self._bounds:
      near, far = zip(bounds, self._bounds)
      bounds = min(near), max(far)
    self._bounds = bounds or self._bounds

  def draw_last(self, files: Files) -> Image:
    return draw_depth(np.load(io.BytesIO(files[_DEPTH])), self._bounds)

  def facts(self) -> list[tuple[str, str]]:
    if self._bounds is None:
      return []
    near, far = self._bounds
    return [("depth in the pictures", f"{near:.2f} to {far:.2f} m")]


def to_ply(image: Image, points: PointArray) -> bytes:
  """Binary PLY of the points that are finite, in the image's colours."""
  is_known = np.isfinite(points).all(axis=-1)
  vertices = np.zeros(np.count_nonzero(is_known), _VERTEX)
  vertices["place"], vertices["color"] = points[is_known], image[is_known]
  header = _HEADER.format(count=len(vertices))
  return header.encode() + vertices.tobytes()
