"""Scenes are in front of their camera, and drawn again the same."""

import numpy as np
import pytest

from data_pipelines.synthetic import raster, scene
from tests.data_pipelines.synthetic import shapes

SIZES = [(64, 48), (32, 64), (1024, 768)]


def draw(seed, size=(64, 48), count=None):
  rng = np.random.default_rng(seed)
  count = count or scene.draw_count(rng)
  people = [shapes.Balls().sample_person(rng) for _ in range(count)]
  return scene.draw_scene(rng, people, size)


@pytest.mark.parametrize("size", SIZES)
def test_everybody_is_before_the_camera_and_somebody_in_the_image(size):
  for seed in range(40):
    drawn = draw(seed, size)
    points = np.concatenate([m.vertices for m in drawn.people])
    seen = drawn.camera.see(points)
    assert seen[:, 2].min() > scene.CLOSEST - 1e-3
    projected = raster.project(seen, drawn.camera.intrinsics)
    inside = (projected[:, :2] >= 0) & (projected[:, :2] < size[::-1])
    assert inside.all(1).mean() > 0.05


def test_the_camera_turns_and_does_not_mirror():
  for seed in range(20):
    rotation = draw(seed).camera.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation[1, 1] < -0.5  # Upright: y of the world is up.


def test_people_stand_apart_on_the_ground():
  for seed in range(20):
    drawn = draw(seed, count=3)
    middles = []
    for mesh in drawn.people:
      assert mesh.vertices[:, 1].min() == pytest.approx(0, abs=1e-5)
      middles.append((mesh.vertices.min(0) + mesh.vertices.max(0))[[0, 2]] / 2)
    gaps = [
      np.linalg.norm(middles[i] - middles[j])
      for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert min(gaps) > 0.4


def test_a_turn_to_the_left_is_one_seen_from_above():
  ball = shapes.ball((0, 0.5, 1))
  moved = scene.place(ball, np.pi / 2, (2.0, 3.0))
  middle = (moved.vertices.min(0) + moved.vertices.max(0)) / 2
  np.testing.assert_allclose(middle, (2, 0.5, 3), atol=1e-5)
  front = np.argmax(ball.normals[:, 2])
  np.testing.assert_allclose(moved.normals[front], (1, 0, 0), atol=1e-6)


def test_the_same_seed_gives_the_same_scene():
  for a, b in ((draw(3), draw(3)),):
    np.testing.assert_array_equal(a.camera.translation, b.camera.translation)
    np.testing.assert_array_equal(a.lights.colors, b.lights.colors)
  assert (draw(3).camera.translation != draw(4).camera.translation).any()


def test_a_scene_of_nobody_is_refused():
  with pytest.raises(ValueError, match="nobody is there"):
    scene.draw_scene(np.random.default_rng(0), [], (64, 48))
