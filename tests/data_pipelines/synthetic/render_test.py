"""Images and labels agree with shapes of which everything is known."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.synthetic import materials as materials_lib
from data_pipelines.synthetic import render
from data_pipelines.synthetic.scene import Scene
from tests.data_pipelines.synthetic import shapes

SIZE = (96, 128)
CAMERA = shapes.look_from(3.0, 150.0, SIZE)


def draw(*people, camera=CAMERA, lights=None, size=SIZE):
  background = np.full((*size, 3), 90, np.uint8)
  rng = np.random.default_rng(0)
  looks = [materials_lib.draw_materials(rng, mesh) for mesh in people]
  scene = Scene(people, camera, lights or shapes.lamp())
  return render.render(scene, looks, background)


def rays(camera, size):
  """Of the camera's space, of length 1 along z."""
  rows, cols = np.indices(size)
  pixels = np.stack([cols, rows, np.ones(size)], -1)
  return pixels @ np.linalg.inv(camera.intrinsics.astype(float)).T


def test_depth_and_normals_are_those_of_a_ball():
  _, labels = draw(shapes.ball(rows=192, cols=256))
  mask = labels.mask
  direction = rays(CAMERA, SIZE)
  center = CAMERA.translation
  square = (direction**2).sum(-1)
  along = direction @ center / square
  inside = along**2 - (center @ center - 0.25) / square
  assert (mask == (inside > 0)).mean() > 0.999
  # Near the rim depth changes fast, and chords cut it off.
  sure = mask & (inside > 0.01)
  expected = (along - np.sqrt(np.maximum(inside, 0)))[sure]
  np.testing.assert_allclose(labels.depth[sure], expected, atol=2e-3)
  normal = direction[sure] * expected[:, None] - center
  normal = normal / 0.5 * [1, -1, -1]
  cosine = (labels.normal[sure] * normal).sum(-1)
  assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1


def test_normals_agree_with_the_slope_of_the_depth():
  _, labels = draw(shapes.ball(rows=192, cols=256))
  points = labels.pointmap()
  across = points[1:-1, 2:] - points[1:-1, :-2]
  down = points[2:, 1:-1] - points[:-2, 1:-1]
  normal = np.cross(across, down) * [-1, 1, 1]  # Towards the camera, y up.
  normal /= np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-9)
  inner = labels.normal[1:-1, 1:-1]
  sure = inner[..., 2] > 0.5
  cosine = (normal * inner).sum(-1)[sure]
  assert sure.sum() > 500
  assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 1.5


def test_points_of_the_surface_project_onto_their_pixels():
  _, labels = draw(shapes.ball((0.2, -0.1, 0)))
  mask = labels.mask
  points = labels.pointmap()[mask] @ labels.intrinsics.T
  rows, cols = np.nonzero(mask)
  np.testing.assert_allclose(
    points[:, :2] / points[:, 2:], np.stack([cols, rows], -1), atol=1e-3
  )


def test_nothing_is_said_of_pixels_outside_the_mask():
  image, labels = draw(shapes.ball())
  outside = ~labels.mask
  for name in ("parts", "normal", "depth", "albedo"):
    assert not getattr(labels, name)[outside].any(), name
  assert (image[labels.alpha == 0] == 90).all()
  assert (labels.parts[labels.mask] == 3).all()
  length = np.linalg.norm(labels.normal[labels.mask], axis=-1)
  np.testing.assert_allclose(length, 1, atol=1e-5)


def test_alpha_is_the_covered_area():
  _, labels = draw(shapes.ball(rows=192, cols=256))
  # A ball before the camera is an ellipse; here it is almost a circle.
  radius = 150 * 0.5 / np.sqrt(3**2 - 0.5**2)
  area = labels.alpha.sum() / 255
  assert area == pytest.approx(np.pi * radius**2, rel=0.01)
  assert ((labels.alpha > 0) & (labels.alpha < 255)).sum() > 50


def test_the_inside_of_an_open_shape_faces_the_camera():
  whole = shapes.ball(rows=96, cols=128)
  centers = whole.vertices[whole.triangles].mean(1)
  back = dataclasses.replace(
    whole,
    triangles=whole.triangles[centers[:, 2] < 0],
    surfaces=whole.surfaces[centers[:, 2] < 0],
    parts=whole.parts[centers[:, 2] < 0],
  )
  _, labels = draw(back)
  middle = labels.normal[48, 64]
  assert middle[2] > 0.99
  assert labels.depth[48, 64] == pytest.approx(3.5, abs=0.01)


def test_boxes_are_those_of_the_seen_pixels():
  _, labels = draw(shapes.ball((0.9, 0, 0)), shapes.ball((-0.6, 0.3, 0), 0.3))
  first, second = labels.people
  assert first.box[2] * first.box[3] > second.box[2] * second.box[3]
  top, left, height, width = map(int, second.box)
  apart = labels.mask[:, : left + width + 1]
  rows, cols = np.nonzero(apart)
  assert (rows.min(), cols.min()) == (top, left)
  assert (rows.max() + 1, cols.max() + 1) == (top + height, left + width)
  assert first.box[1] + first.box[3] == SIZE[1]  # Cut by the image's edge.


def test_who_is_hidden_is_not_listed():
  front, behind = shapes.ball(), shapes.ball((0, 0, -2), 0.3)
  _, labels = draw(front, behind)
  assert len(labels.people) == 1
  _, labels = draw(front, shapes.ball((1.5, 0, -2), 0.3))
  assert len(labels.people) == 2


def test_keypoints_know_who_is_in_front():
  names = ("front", "rear", "behind", "outside", "unknown")
  points = np.full((308, 3), np.nan, np.float32)
  points[: len(names)] = [
    (0, 0, 0.5),  # On the near side of the first ball.
    (0, 0, -0.5),  # On its far side.
    (0.4, 0, -1.6),  # On the near side of the second one, behind the first.
    (9, 0, 0),
    (np.nan,) * 3,
  ]
  ball = dataclasses.replace(shapes.ball(), keypoints=points)
  _, labels = draw(ball, shapes.ball((0.9, 0, -2.1), 0.5))
  assert len(labels.people) == 2
  found = labels.people[0].keypoints
  assert found.shape == (308, 3) and found.dtype == np.float32
  assert dict(zip(names, found[:, 2])) == {
    "front": 2,
    "rear": 1,
    "behind": 1,
    "outside": 0,
    "unknown": 0,
  }
  assert not found[3:].any()
  middle = CAMERA.intrinsics[:2, 2]
  np.testing.assert_allclose(found[0, :2], middle, atol=1e-3)
  expected = middle[0] + 150 * 0.4 / 4.6
  np.testing.assert_allclose(found[2, 0], expected, rtol=1e-5)


def test_a_joint_below_the_surface_is_visible():
  points = np.full((308, 3), np.nan, np.float32)
  points[0] = 0
  radius = np.zeros(308, np.float32)
  ball = dataclasses.replace(shapes.ball(), keypoints=points)
  _, labels = draw(dataclasses.replace(ball, keypoint_radius=radius))
  assert labels.people[0].keypoints[0, 2] == 1
  radius = np.full(308, 0.5, np.float32)
  _, labels = draw(dataclasses.replace(ball, keypoint_radius=radius))
  assert labels.people[0].keypoints[0, 2] == 2


def test_the_side_to_the_lamp_is_bright_and_the_other_casts_a_shadow():
  lights = shapes.lamp((1, 0, 0), ambient=0.1)
  image, labels = draw(shapes.ball(), lights=lights)
  bright, dark = image[48, 88].mean(), image[48, 40].mean()
  assert bright > 1.5 * dark
  alone, _ = draw(shapes.ball((-0.6, 0, 0), 0.4), lights=lights)
  shaded, _ = draw(
    shapes.ball((-0.6, 0, 0), 0.4), shapes.ball((0.6, 0, 0), 0.4), lights=lights
  )
  assert shaded[48, 48].mean() < 0.8 * alone[48, 48].mean()
  # Albedo is what is left without light.
  assert np.ptp(labels.albedo[labels.mask].mean(-1)) < 80
