import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.synthetic import pieces


def _grid(rows, columns):
  """A flat sheet in x, y, one unit a square; triangles face z."""
  x, y = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
  points = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
  corner = np.arange(len(points)).reshape(rows + 1, columns + 1)
  a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
  c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
  halves = [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
  return points, np.concatenate(halves)


def _area(points, triangles):
  a, b, c = np.moveaxis(points[triangles], 1, 0)
  return np.cross(b - a, c - a)[:, 2] / 2


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 2.95), st.floats(-0.4, 0.4))
def test_a_cut_follows_a_straight_line_exactly(height, slope):
  points, triangles = _grid(5, 3)
  line = height + slope * (points[:, 0] - 1.5) + 1
  piece = pieces.cut(triangles, line - points[:, 1], "top", 23)
  placed = piece.mix(points)
  area = _area(placed, piece.triangles)
  assert (area > -1e-6).all()  # Every triangle still faces the same way.
  assert area.sum() == pytest.approx(3 * (height + 1), abs=1e-4)
  edges = np.sort(piece.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2))
  assert np.unique(edges, axis=0, return_counts=True)[1].max() <= 2


def test_a_cut_knows_whose_triangles_it_keeps():
  points, triangles = _grid(1, 4)
  part = np.where(points[:, 0] < 2, 9, 18).astype(np.uint8)
  piece = pieces.cut(triangles, np.ones(len(points)), "shoe", part)
  middle = piece.mix(points)[piece.triangles].mean(1)[:, 0]
  assert (piece.parts[middle < 1] == 9).all()
  assert (piece.parts[middle > 3] == 18).all()


def test_a_cut_that_keeps_nothing_is_empty():
  points, triangles = _grid(2, 2)
  piece = pieces.cut(triangles, -np.ones(len(points)), "top", 23)
  assert len(piece.triangles) == 0 and len(piece.corners) == 0


def test_normals_are_weighted_by_area():
  points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]])
  triangles = np.array([[0, 1, 2], [0, 2, 3]])
  normals = pieces.find_normals(points, triangles)
  np.testing.assert_allclose(normals[1], (0, 0, 1), atol=1e-6)
  expected = np.array([3, 0, 1]) / np.sqrt(10)
  np.testing.assert_allclose(normals[0], expected, atol=1e-6)


def test_pieces_are_joined_pushed_out_and_carried():
  points, triangles = _grid(1, 1)
  flat = pieces.whole(triangles, "skin", 22)
  cloth = pieces.whole(triangles, "top", 23).stand_off(np.full(4, 0.5))
  blended = np.zeros((4, 3, 4), np.float32)
  blended[:, :, :3] = np.eye(3)
  blended[:, 1, 3] = 7
  made = pieces.assemble(
    [flat, cloth],
    shape=points,
    outward=pieces.find_normals(points, triangles),
    uv=points[:, :2],
    blended=blended,
  )
  np.testing.assert_allclose(made.rest[4:], points + (0, 0, 0.5))
  np.testing.assert_allclose(made.vertices, made.rest + (0, 7, 0))
  assert made.parts.tolist() == [22, 22, 23, 23]
  assert made.surfaces.tolist() == [0, 0, 7, 7]
  assert made.triangles.max() == 7
