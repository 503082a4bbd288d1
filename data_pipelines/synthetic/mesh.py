"""A clothed person as triangles: what bodies hand to the renderer."""

import dataclasses

import numpy as np

# What a triangle is made of; the renderer gives each its colour and shine.
SURFACES = (
  "skin",
  "lips",
  "eye",
  "teeth",
  "tongue",
  "hair",
  "brows",
  "top",
  "bottom",
  "skirt",
  "sock",
  "shoe",
)


def find_bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The lowest and highest coordinates, (c,) each, of (n, c) points."""
  columns = np.ascontiguousarray(points.T)  # NumPy is slow along columns.
  return columns.min(1), columns.max(1)


@dataclasses.dataclass(frozen=True, eq=False)
class PersonMesh:
  """The mesh of one person, standing near the origin.

  Attributes:
    vertices: (v, 3) float32 metres; x to the person's left, y up, z the way
      it faces in the rest pose; the lowest point has y = 0.
    normals: (v, 3) float32 unit vectors, smooth.
    triangles: (f, 3) int32, counter-clockwise from outside.
    surfaces: (f,) uint8, indices into `SURFACES`.
    parts: (f,) uint8, body parts 1 to 28 of the segmentation task.
    rest: (v, 3) float32 metres, where the vertex lies in the standard pose:
      coordinates for patterns that move with skin and cloth.
    uv: (v, 2) float32 in [0, 1], of the body's texture atlas; 0 where a
      surface has none.
    keypoints: (308, 3) float32 metres; NaN where the mesh cannot carry one.
    keypoint_radius: (308,) float32 metres below the surface at which the
      point lies: 0 for points on skin, for joints the depth of flesh; used to
      tell hidden from visible.
    traits: what was drawn, for messages and statistics: age, gender, ...
  """

  vertices: np.ndarray
  normals: np.ndarray
  triangles: np.ndarray
  surfaces: np.ndarray
  parts: np.ndarray
  rest: np.ndarray
  uv: np.ndarray
  keypoints: np.ndarray
  keypoint_radius: np.ndarray
  traits: dict[str, float]
