"""Triangles land on the right pixels, each exactly once."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.synthetic import raster
from tests.data_pipelines.synthetic import shapes

INTRINSICS = np.array([[50.0, 0, 18.25], [0, 60, 14.5], [0, 0, 1]])
SIZE = (32, 40)


def draw(points, triangles, size=SIZE, intrinsics=INTRINSICS):
  return raster.rasterise(
    raster.project(np.asarray(points, float), intrinsics),
    np.asarray(triangles, np.int32),
    size,
  )


def rays(size, intrinsics):
  rows, cols = np.indices(size)
  pixels = np.stack([cols, rows, np.ones(size)], -1)
  return pixels @ np.linalg.inv(intrinsics).T


@pytest.mark.parametrize("triangle", [(0, 1, 2), (0, 2, 1)])
def test_a_plane_has_its_exact_depth_from_either_side(triangle):
  points = np.array([[-9.0, -9, 2], [9, -9, 4], [0, 12, 3]])
  found = draw(points, [triangle])
  normal = np.cross(points[1] - points[0], points[2] - points[0])
  expected = normal @ points[0] / (rays(SIZE, INTRINSICS) @ normal)
  assert (found.ids == 0).all()
  np.testing.assert_allclose(found.depth, expected, rtol=1e-4)


def test_weights_give_back_the_point_on_the_ray():
  points = np.array([[-0.5, -0.4, 2], [0.6, -0.2, 4], [0.1, 0.9, 3]])
  found = draw(points, [(0, 1, 2)])
  seen = found.ids == 0
  assert 50 < seen.sum() < seen.size
  inside = found.weights @ points
  expected = rays(SIZE, INTRINSICS)[seen] * found.depth[seen][:, None]
  np.testing.assert_allclose(inside, expected, atol=1e-3)
  assert len(found.weights) == seen.sum() and not found.depth[~seen].any()
  assert (found.ids[~seen] == -1).all()


def test_the_nearer_triangle_is_seen_in_any_order():
  corners = np.array([[-9.0, -9], [9, -9], [0, 12]])
  near, far = (np.c_[corners, np.full(3, z)] for z in (2.0, 3.0))
  for first, second, seen in ((near, far, 0), (far, near, 1)):
    found = draw(np.concatenate([first, second]), [(0, 1, 2), (3, 4, 5)])
    assert (found.ids == seen).all()
    np.testing.assert_allclose(found.depth, 2, rtol=1e-6)


def test_the_first_pixel_has_its_centre_at_zero():
  corners = np.array([[-0.4, -0.4], [0.4, -0.4], [-0.4, 0.9]])
  points = np.c_[corners, np.ones(3)]
  found = draw(points, [(0, 1, 2)], intrinsics=np.eye(3))
  assert np.argwhere(found.ids == 0).tolist() == [[0, 0]]


@pytest.mark.parametrize("z", [raster.NEAR / 2, 0.0, -1.0])
def test_a_triangle_with_a_corner_behind_is_left_out(z):
  points = [[-1, -1, 1], [1, -1, 1], [0, 1, z]]
  assert (draw(points, [(0, 1, 2)]).ids == -1).all()


# Whole numbers put corners and edges onto the centres of pixels.
coordinate = st.one_of(
  st.integers(-4, 36).map(float), st.floats(-4, 36, width=32)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=4, max_size=4))
def test_a_common_edge_is_drawn_once_and_without_gaps(corners):
  """Two triangles that share an edge cover what their outline covers."""
  a, b, c, d = np.array(corners)
  side = np.cross(np.append(b - a, 0), np.append(c - a, 0))[2]
  other = np.cross(np.append(b - a, 0), np.append(d - a, 0))[2]
  if side * other >= 0:  # They would overlap.
    d = a + b - c
  points = np.c_[np.stack([a, b, c, d]), np.ones(4)]
  seen = [
    raster.draw_nearest(points, np.int32([triangle]), SIZE)[0] >= 0
    for triangle in ((0, 1, 2), (0, 1, 3))
  ]
  assert not (seen[0] & seen[1]).any()
  # Points strictly between two covered sides of the edge are covered.
  rows, cols = np.indices(SIZE)
  distance = np.abs(
    (b - a)[0] * (rows - a[1]) - (b - a)[1] * (cols - a[0])
  ) / max(np.hypot(*(b - a)), 1e-9)
  along = ((cols - a[0]) * (b - a)[0] + (rows - a[1]) * (b - a)[1]) / max(
    (b - a) @ (b - a), 1e-9
  )
  on_edge = (distance < 1e-9) & (along > 0.01) & (along < 0.99)
  if abs(side) > 50 and abs(other) > 50:
    assert (seen[0] | seen[1])[on_edge].all()


def test_a_fan_of_triangles_covers_a_square_exactly_once():
  rng = np.random.default_rng(0)
  corners = np.array([[-5, -5], [50, -5], [50, 50], [-5, 50]], float)
  for _ in range(50):
    centre = rng.integers(0, 31, 2) + rng.choice([0, 0.5, 0.3])
    points = np.c_[np.vstack([corners, centre]), np.ones(5)]
    count = sum(
      raster.draw_nearest(points, np.int32([(i, (i + 1) % 4, 4)]), SIZE)[0] == 0
      for i in range(4)
    )
    assert (count == 1).all()


def draw_with_opencv(points, triangles, size, field_of_view):
  """The same by OpenCV, whose camera looks along -z with y up."""
  flipped = (points * [1, -1, -1]).astype(np.float32)
  corners = flipped[triangles].reshape(-1, 3)  # Each with its own colour.
  scale = 2**16
  colors = np.repeat((np.arange(len(triangles)) + 1) / scale, 3)
  colors = np.repeat(colors[:, None], 3, 1).astype(np.float32)
  shading = cv2.TriangleRasterizeSettings().setShadingType(
    cv2.RASTERIZE_SHADING_SHADED
  )
  far = 50.0
  image, depth = cv2.triangleRasterize(
    corners,
    np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
    colors,
    np.zeros((*size, 3), np.float32),
    np.full(size, far, np.float32),
    np.eye(4, dtype=np.float32),
    field_of_view,
    0.1,
    far,
    shading.setCullingMode(cv2.RASTERIZE_CULLING_NONE),
  )
  return np.rint(image[..., 0] * scale).astype(int) - 1, depth


def test_it_agrees_with_opencv():
  points, triangles = shapes.make_ball()
  points = points + [0.1, 0.05, 3]
  (height, width), field_of_view = (96, 128), 0.8
  focal = height / 2 / np.tan(field_of_view / 2)
  middle = (width - 1) / 2, (height - 1) / 2
  intrinsics = np.diag([focal, focal, 1])
  intrinsics[:2, 2] = middle
  ours = draw(points, triangles, (height, width), intrinsics)
  ids, depth = draw_with_opencv(
    points, triangles, (height, width), field_of_view
  )
  assert (ours.ids == ids).mean() > 0.999
  seen = (ours.ids >= 0) & (ids >= 0)
  assert seen.mean() > 0.3
  np.testing.assert_allclose(ours.depth[seen], depth[seen], rtol=1e-4)
