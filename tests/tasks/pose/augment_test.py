import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import vocabulary
from sapiens2_jax.tasks.pose import augment as pose_augment
from sapiens2_jax.tasks.pose import keypoint_sets

SET = keypoint_sets.make("")
KNOWN = vocabulary.keypoints()
UPPER, LOWER = KNOWN["upper_body_ids"], KNOWN["lower_body_ids"]
SIZE = (128, 96)
seeds = st.integers(0, 2**32 - 1)


def draw_keypoints(rng, visible, size=(200, 300)):
  keypoints = np.zeros((308, 3), np.float32)
  keypoints[:, :2] = rng.uniform(0, [size[1] - 1, size[0] - 1], (308, 2))
  keypoints[visible, 2] = rng.integers(1, 3, len(visible))
  return keypoints


@given(seeds)
def test_flipping_twice_changes_nothing(seed):
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 256, (20, 31, 3), np.uint8)
  keypoints = draw_keypoints(rng, range(0, 308, 3), (20, 31))
  once = pose_augment.flip(image, keypoints, SET.flip_indices)
  twice = pose_augment.flip(*once, SET.flip_indices)
  np.testing.assert_array_equal(twice[0], image)
  np.testing.assert_allclose(twice[1], keypoints, atol=1e-5)


def test_flipping_swaps_left_and_right():
  rng = np.random.default_rng(0)
  keypoints = draw_keypoints(rng, range(308))
  _, flipped = pose_augment.flip(
    np.zeros((200, 300, 3), np.uint8), keypoints, SET.flip_indices
  )
  left, right = (
    KNOWN["names"].index("left_eye"),
    KNOWN["names"].index("right_eye"),
  )
  assert flipped[left, 0] == pytest.approx(299 - keypoints[right, 0])
  assert flipped[left, 1] == keypoints[right, 1]


@given(seeds, st.integers(0, 5), st.integers(0, 5), st.integers(0, 12))
def test_a_half_body_is_one_of_which_enough_is_seen(
  seed, num_upper, num_lower, num_others
):
  rng = np.random.default_rng(seed)
  visible = [*UPPER[:num_upper], *LOWER[:num_lower]]
  visible += [100 + i for i in range(num_others)]  # of the face: in neither
  keypoints = draw_keypoints(rng, visible)
  given_region = np.array([7.0, 8.0]), np.array([9.0, 10.0])
  center, extent = pose_augment.choose_half(
    *given_region, keypoints, rng, SET.halves
  )

  def region(ids):
    points = keypoints[ids, :2]
    return points.mean(0), 1.5 * np.maximum(np.ptp(points, axis=0), 1)

  allowed = []
  if len(visible) >= 9 and num_upper >= 2:
    allowed.append(region(UPPER[:num_upper]))
  if len(visible) >= 9 and num_lower >= 3:
    allowed.append(region(LOWER[:num_lower]))
  allowed = allowed or [given_region]
  assert any(
    np.allclose(center, c, atol=1e-3) and np.allclose(extent, e, atol=1e-3)
    for c, e in allowed
  )


def test_the_upper_half_is_shown_seven_times_in_ten():
  rng = np.random.default_rng(0)
  keypoints = draw_keypoints(rng, [*UPPER, *LOWER])
  expected = keypoints[UPPER, :2].mean(0)
  hits = [
    np.allclose(
      pose_augment.choose_half(
        np.zeros(2), np.ones(2), keypoints, rng, SET.halves
      )[0],
      expected,
      atol=1e-3,
    )
    for _ in range(500)
  ]
  assert 0.62 < np.mean(hits) < 0.78


@given(seeds)
def test_jitter_stays_within_its_limits(seed):
  rng = np.random.default_rng(seed)
  extent = np.array([30.0, 40.0])
  center, scaled, angle = pose_augment.jitter(np.zeros(2), extent, rng)
  assert (np.abs(center) <= 0.16 * extent).all()
  assert 0.5 <= scaled[0] / extent[0] <= 1.5
  assert scaled[1] / scaled[0] == pytest.approx(4 / 3)
  assert abs(angle) <= 80


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_keypoints_follow_their_pixels(seed):
  rng = np.random.default_rng(seed)
  keypoints = draw_keypoints(rng, range(308), (240, 180))
  # One keypoint is a white disc, too large for the median filter to wipe out;
  # all else is grey.
  image = np.full((240, 180, 3), 60, np.uint8)
  disc = (int(rng.integers(60, 120)), int(rng.integers(60, 180)))
  keypoints[0] = (*disc, 2)
  cv2.circle(image, disc, 16, (255, 255, 255), -1)
  crop, moved = pose_augment.augment_person(
    image, (20, 30, 180, 120), keypoints, SIZE, rng, SET
  )
  assert crop.shape == (*SIZE, 3) and crop.dtype == np.uint8
  assert (moved[:, :2] >= 0).all() and (moved[:, :2] < SIZE[::-1]).all()
  np.testing.assert_array_equal(moved[moved[:, 2] == 0], 0)
  x, y = np.rint(moved[0, :2]).astype(int)
  if moved[0, 2] and crop[y, x].any():  # neither outside nor painted over
    values = crop.max(-1).astype(int)
    assert values[y, x] > np.median(values[values > 0])


def test_keypoints_outside_or_unlabelled_become_zero():
  keypoints = np.array(
    [[10, 20, 2], [-1, 5, 2], [95.9, 127.9, 1], [96, 5, 2], [5, 5, 0]]
  )
  affine = np.eye(2, 3)
  moved = pose_augment.move_keypoints(keypoints, affine, SIZE)
  np.testing.assert_array_equal(moved[[1, 3, 4]], 0)
  np.testing.assert_allclose(moved[[0, 2]], keypoints[[0, 2]], rtol=1e-6)


@given(seeds)
def test_one_rectangle_becomes_black(seed):
  rng = np.random.default_rng(seed)
  crop = np.full((50, 40, 3), 200, np.uint8)
  spoiled = pose_augment.spoil(crop, rng)
  rows, cols = np.nonzero((spoiled == 0).all(-1))
  height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
  assert 10 <= height <= 20 and 8 <= width <= 16
  assert len(rows) == height * width
  assert (crop == 200).all()


def test_the_same_generator_gives_the_same_example():
  image = np.random.default_rng(1).integers(0, 256, (90, 70, 3), np.uint8)
  keypoints = draw_keypoints(np.random.default_rng(2), range(308), (90, 70))
  first, second = (
    pose_augment.augment_person(
      image, (5, 5, 80, 60), keypoints, SIZE, np.random.default_rng(3), SET
    )
    for _ in range(2)
  )
  for a, b in zip(first, second):
    np.testing.assert_array_equal(a, b)
