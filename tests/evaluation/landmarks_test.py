"""The landmark probe: NME, crops whose points follow, and the regression."""

import numpy as np
import pytest

from data_pipelines import vocabulary
from data_pipelines.faces import dlib
from sapiens2_jax.config import load_module
from sapiens2_jax.evaluation import landmarks
from tests.end_to_end import commands

real_faces = load_module(commands.ROOT / "experiments" / "real_faces.py")


def make_face(seed: int, left: float, top: float, side: float) -> dlib.Face:
  """A face of random points, two of which are eyes."""
  points = np.random.default_rng(seed).uniform(0, 1, (68, 2))
  points[36], points[45] = (0.2, 0.4), (0.8, 0.4)
  points = points * side + (left, top)
  return dlib.Face("photo", (top, left, side, side), points)


def test_nme_is_the_mean_distance_over_that_of_the_outer_corners():
  true = np.zeros((2, 68, 2))
  true[:, 45] = [(10, 0), (0, 20)]
  found = true.copy()
  found[0] += (3, 4)  # Each point is 5 off.
  found[1, 7] += (0, 68)  # One point is 68 off.
  unit = landmarks.eye_distance(true)
  assert unit.tolist() == [10, 20]
  errors = landmarks.normalized_error(found, true, unit)
  np.testing.assert_allclose(errors, [5 / 10, 1 / 20])


def test_a_mirror_swaps_the_sides_of_the_scheme():
  ids = landmarks.mirror_ids()
  np.testing.assert_array_equal(ids[ids], np.arange(68))
  middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
  np.testing.assert_array_equal(np.flatnonzero(ids == np.arange(68)), middle)
  known = vocabulary.keypoints()
  flip, names = known["flip_indices"], known["names"]
  for number, name in real_faces.SAME_POINTS.items():
    other = names[flip[names.index(name)]]
    assert real_faces.SAME_POINTS[ids[number]] == other


@pytest.mark.parametrize("mirrors", [False, True])
def test_points_follow_their_pixels_into_the_crop(mirrors):
  face = make_face(0, 60, 40, 80)
  size, chosen = (160, 200), [0, 36, 45, 57]
  photograph = np.zeros((*size, 3), np.uint8)
  marks = np.round(face.points).astype(int)
  for place, number in enumerate(chosen):  # A level of its own each.
    x, y = marks[number]
    photograph[y - 1 : y + 2, x - 1 : x + 2] = 100 + 50 * place
  face = dlib.Face("photo", face.box, marks.astype(float))
  crops = landmarks.cut(
    [face], {"photo": photograph}, 128, draws=3, mirrors=mirrors
  )
  assert len(crops.images) == 4 * (1 + mirrors)
  assert crops.straight.sum() == 1 + mirrors and crops.faces.max() == 0
  for row, (image, points) in enumerate(zip(crops.images, crops.points)):
    is_mirror = mirrors and row % 2
    for place, number in enumerate(chosen):
      there = landmarks.mirror_ids()[number] if is_mirror else number
      x, y = np.round(points[there]).astype(int)
      if 1 < x < 126 and 1 < y < 126:
        level = 100 + 50 * place
        assert abs(int(image[y, x, 0]) - level) < 30, (row, number)


def test_ridge_is_that_of_the_normal_equations():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(7, 30)), rng.normal(size=(7, 4))
  (one, other) = landmarks.fit_ridge(x, y, [0.1, 2.0])
  centred = x - x.mean(axis=0)
  unit = np.trace(centred @ centred.T) / 7
  for ridge, strength in ((one, 0.1), (other, 2.0)):
    gram = centred.T @ centred + strength * unit * np.eye(30)
    weights = np.linalg.solve(gram, centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(ridge.weights, weights, atol=1e-9)
    wanted = (x - x.mean(axis=0)) @ weights + y.mean(axis=0)
    np.testing.assert_allclose(ridge(x), wanted, atol=1e-9)


def test_strength_is_chosen_by_groups_that_were_left_out():
  rng = np.random.default_rng(0)
  x, groups = rng.normal(size=(40, 10)), np.arange(40) % 5
  shape = make_face(0, 0, 0, 100).points
  linear = shape + (x @ rng.normal(size=(10, 136))).reshape(-1, 68, 2)
  strength, error = landmarks.choose_strength(x, linear, groups)
  assert strength == min(landmarks.STRENGTHS) and error < 0.01
  noise = shape + rng.normal(size=linear.shape)
  strength, _ = landmarks.choose_strength(x, noise, groups)
  assert strength >= 100


def test_a_probe_finds_faces_that_features_show_and_the_mean_shape_does_not():
  rng = np.random.default_rng(0)
  shape = make_face(0, 0, 0, 60).points

  def crops(count: int) -> landmarks.Crops:
    moved = rng.uniform(0, 60, (count, 1, 2))
    images = np.zeros((count, 128, 128, 3), np.uint8)
    images[:, 0, 0, :2] = np.round(moved[:, 0])
    straight = np.ones(count, bool)
    points = shape + np.round(moved)
    return landmarks.Crops(images, points, np.arange(count), straight)

  def encode(images):
    return images[:, :1, :1].astype(np.float32)

  train, test = crops(30), crops(10)
  photographs = [str(number % 3) for number in range(30)]
  found = landmarks.measure(encode, train, test, photographs)
  assert found["errors"].max() < 0.01 and found["strength"] == 1e-3
  np.testing.assert_allclose(found["points"], test.points, atol=0.2)
  assert landmarks.mean_shape(train, test).mean() > 0.3
