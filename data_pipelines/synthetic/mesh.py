"""A clothed person as triangles: what bodies hand to the renderer."""

import dataclasses

import numpy as np

# What a triangle is made of; the renderer gives each its colour and shine.
SURFACES = (
  *("skin", "lips", "eye", "teeth", "tongue", "hair", "brows"),
  *("top", "bottom", "skirt", "sock", "shoe"),
)


def find_bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The lowest and highest coordinates, (c,) each, of (n, c) points."""
  columns = np.ascontiguousarray(points.T)  # NumPy is slow along columns.
  return columns.min(1), columns.max(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
  """Triangles of a body and what is worn on it."""

  # (v, 3) float32 metres; x to the person's left, y up, z the way it faces in
  # the rest pose.
  vertices: np.ndarray
  normals: np.ndarray  # (v, 3) float32 unit vectors, smooth
  triangles: np.ndarray  # (f, 3) int32, counter-clockwise from outside
  surfaces: np.ndarray  # (f,) uint8, indices into `SURFACES`
  parts: np.ndarray  # (f,) uint8, body parts 1 to 28 of the segmentation task
  # (v, 3) float32 metres, where the vertex lies in the standard pose:
  # coordinates for patterns that move with skin and cloth.
  rest: np.ndarray
  uv: np.ndarray  # (v, 2) float32 in [0, 1], of the body's atlas; 0 for none


@dataclasses.dataclass(frozen=True, eq=False)
class PersonMesh(Mesh):
  """One person, standing near the origin; the lowest point has y = 0."""

  keypoints: np.ndarray  # (308, 3) float32 metres; NaN where there is none
  # (308,) float32 metres below the surface at which the point lies: 0 on skin,
  # for joints the depth of flesh; used to tell hidden from visible.
  keypoint_radius: np.ndarray
  traits: dict[str, float]  # what was drawn, for statistics: age, muscle, ...
