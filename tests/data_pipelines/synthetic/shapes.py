"""Shapes of which everything is known."""

import numpy as np

from data_pipelines.synthetic.mesh import SURFACES, PersonMesh
from data_pipelines.synthetic.scene import Camera, Lights


def make_ball(rows=24, cols=32):
  """A unit ball's vertices and triangles, counter-clockwise from outside."""
  theta = np.linspace(0, np.pi, rows + 1)[:, None]
  phi = np.linspace(0, 2 * np.pi, cols, endpoint=False)[None]
  points = np.stack(
    np.broadcast_arrays(
      np.sin(theta) * np.cos(phi), np.cos(theta), -np.sin(theta) * np.sin(phi)
    ),
    -1,
  ).reshape(-1, 3)
  r, c = np.mgrid[:rows, :cols]
  a, b = r * cols + c, r * cols + (c + 1) % cols
  quads = np.stack([a, a + cols, b + cols, b], -1).reshape(-1, 4)
  triangles = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
  return points, triangles.astype(np.int32)


def make_mesh(points, triangles, normals, surface="skin", part=3) -> PersonMesh:
  """A mesh of one surface; its keypoints are 308 of its points in turn."""
  points = np.asarray(points, np.float32)
  chosen = np.arange(308) % len(points)
  return PersonMesh(
    vertices=points,
    normals=np.asarray(normals, np.float32),
    triangles=np.asarray(triangles, np.int32),
    surfaces=np.full(len(triangles), SURFACES.index(surface), np.uint8),
    parts=np.full(len(triangles), part, np.uint8),
    rest=points,
    uv=np.zeros((len(points), 2), np.float32),
    keypoints=points[chosen],
    keypoint_radius=np.zeros(308, np.float32),
    traits={},
  )


def ball(
  center=(0.0, 0, 0), radius=0.5, rows=48, cols=64, **kind
) -> PersonMesh:
  """A person of the simplest form."""
  points, triangles = make_ball(rows, cols)
  return make_mesh(points * radius + center, triangles, points, **kind)


def look_from(distance: float, focal: float, size) -> Camera:
  """A camera on the z axis that looks to the origin."""
  height, width = size
  intrinsics = np.diag([focal, focal, 1]).astype(np.float32)
  intrinsics[:2, 2] = (width - 1) / 2 + 0.3, (height - 1) / 2 - 0.2
  return Camera(intrinsics, np.diag([1.0, -1, -1]), np.array([0, 0, distance]))


def lamp(direction=(0.0, 0, 1), ambient=0.2) -> Lights:
  """A dim sky and one lamp."""
  direction = np.array([direction]) / np.linalg.norm(direction)
  return Lights(
    sky=np.full(3, ambient),
    ground=np.full(3, ambient),
    directions=direction,
    colors=np.full((1, 3), 0.8),
    softness=np.zeros(1),
  )


class Balls:
  """Draws people of two balls."""

  def sample_person(self, rng: np.random.Generator) -> PersonMesh:
    height = rng.uniform(1, 2)
    body = ball((0, 0.35 * height, 0), 0.35 * height, part=23, surface="top")
    head = ball((0, 0.85 * height, 0.02), 0.15 * height)
    start = len(body.vertices)
    return PersonMesh(
      traits={},
      keypoints=body.keypoints,
      keypoint_radius=body.keypoint_radius,
      triangles=np.concatenate([body.triangles, head.triangles + start]),
      **{
        name: np.concatenate([getattr(body, name), getattr(head, name)])
        for name in ("vertices", "normals", "surfaces", "parts", "rest", "uv")
      },
    )


def load_inputs():
  """People of balls before one made-up photograph; see `corpus.Load`."""
  photograph = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
  return Balls(), (photograph,)
