import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import vocabulary
from sapiens2_jax.tasks.segmentation import augment, class_sets

SIZE = (64, 48)
PAIRS = class_sets.make("").pairs
NAMES = vocabulary.parts()["names"]
seeds = st.integers(0, 2**32 - 1)


def draw(rng, size):
  """An image whose colours say what part is shown."""
  coarse = rng.integers(0, 29, (5, 4), np.uint8)
  parts = augment.resize_parts(coarse, size)
  return np.repeat(parts[..., None] * 8 + 10, 3, axis=-1), parts


@settings(max_examples=50, deadline=None)
@given(seeds, st.sampled_from([(64, 48), (40, 90), (200, 30)]))
def test_results_have_the_right_shape_and_known_classes(seed, size):
  rng = np.random.default_rng(seed)
  image, parts = draw(rng, size)
  background = rng.integers(0, 256, (33, 50, 3), np.uint8)
  for scene in (None, background):
    out, labels = augment.augment_parts(image, parts, SIZE, rng, PAIRS, scene)
    assert out.shape == (*SIZE, 3) and out.dtype == np.uint8
    assert labels.shape == SIZE and labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, *range(29), 255}


@given(seeds)
def test_flipping_twice_changes_nothing(seed):
  rng = np.random.default_rng(seed)
  image, parts = draw(rng, (20, 31))
  parts[0, 0] = 255
  once = augment.flip(image, parts, PAIRS)
  for found, expected in zip(augment.flip(*once, PAIRS), (image, parts)):
    np.testing.assert_array_equal(found, expected)


def test_flipping_swaps_left_and_right():
  parts = np.array([[NAMES.index("Left_Hand"), 0, NAMES.index("Hair"), 255]])
  image = np.zeros((1, 4, 3), np.uint8)
  _, flipped = augment.flip(image, parts.astype(np.uint8), PAIRS)
  expected = [[255, NAMES.index("Hair"), 0, NAMES.index("Right_Hand")]]
  np.testing.assert_array_equal(flipped, expected)


def test_turning_moves_image_and_parts_together():
  parts = np.zeros((60, 80), np.uint8)
  parts[10:20, 50:60] = 7
  image = np.repeat((parts > 0)[..., None] * np.uint8(200), 3, axis=-1)
  turned, labels = augment.turn(image, parts, 40.0)
  rows, cols = np.nonzero(labels)
  seen_rows, seen_cols = np.nonzero(turned[..., 0] > 100)
  assert np.abs(rows.mean() - seen_rows.mean()) < 0.5
  assert np.abs(cols.mean() - seen_cols.mean()) < 0.5
  assert np.abs(rows.mean() - 14.5) > 2  # it did move
  assert set(np.unique(labels)) == {0, 7}  # corners are background


def test_a_new_background_leaves_people_where_they_are():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 60, (40, 30, 3), np.uint8)
  parts = np.zeros((40, 30), np.uint8)
  parts[10:30, 5:20], parts[0, 0] = 3, 255
  scene = rng.integers(150, 256, (80, 200, 3), np.uint8)
  mixed = augment.replace_background(image, parts, scene)
  outside = mixed[parts == 0]
  assert outside.min() > 100
  # Dark people become as bright as the scene.
  assert mixed[10:30, 5:20].mean() == pytest.approx(outside.mean(), abs=15)


def test_a_new_background_of_nobody_is_all_there_is():
  image = np.zeros((40, 30, 3), np.uint8)
  scene = np.full((40, 30, 3), 77, np.uint8)
  parts = np.zeros((40, 30), np.uint8)
  mixed = augment.replace_background(image, parts, scene)
  np.testing.assert_array_equal(mixed, scene)


@pytest.mark.parametrize("shape", [(20, 10), (20, 80)])
def test_backgrounds_of_any_aspect_fill_the_image(shape):
  scene = np.full((*shape, 3), 77, np.uint8)
  image = np.zeros((40, 60, 3), np.uint8)
  mixed = augment.replace_background(image, image[..., 0], scene)
  np.testing.assert_array_equal(mixed, 77)


def test_a_crop_is_varied_with_two_classes_of_which_none_rules():
  parts = np.full((10, 10), 255, np.uint8)
  parts[0, :4] = 0
  assert not augment.is_varied(parts)  # one class
  parts[1, :2] = 5
  assert augment.is_varied(parts)  # 4 of 6
  parts[0, :6] = 0
  assert not augment.is_varied(parts)  # 6 of 8: three quarters
  assert not augment.is_varied(np.full((4, 4), 255, np.uint8))


def test_a_small_image_is_filled_up_with_what_is_not_known():
  image = np.full((30, 20, 3), 9, np.uint8)
  parts = np.full((30, 20), 2, np.uint8)
  crop, labels = augment._crop(image, parts, SIZE, np.random.default_rng(0))
  assert crop.shape == (*SIZE, 3)
  np.testing.assert_array_equal(labels[:30, :20], 2)
  np.testing.assert_array_equal(crop[:30, :20], 9)
  assert (labels[30:] == 255).all() and (labels[:, 20:] == 255).all()
  assert not crop[30:].any() and not crop[:, 20:].any()
