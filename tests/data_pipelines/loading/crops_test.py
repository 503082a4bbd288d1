import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.loading import crops

CONFIG = crops.CropConfig(global_size=(64, 48), local_size=(32, 24))
SIDES = st.integers(1, 6000)


def _draw(height, width, config=CONFIG, seed=0, index=0, epoch=0):
  return crops.draw_boxes(
    height, width, config, seed=seed, index=index, epoch=epoch
  )


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_every_box_lies_inside_the_image(height, width, seed, index):
  for group, count in zip(_draw(height, width, seed=seed, index=index), (2, 4)):
    assert group.shape == (count, 4) and group.dtype == np.float64
    top, left, crop_height, crop_width = group.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (crop_height > 0).all() and (crop_width > 0).all()
    assert (top + crop_height <= height * (1 + 1e-9)).all()
    assert (left + crop_width <= width * (1 + 1e-9)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6))
def test_areas_and_aspects_are_in_range(index):
  height, width = 400, 300  # The output's aspect: draws nearly always fit.
  for (
    group,
    area,
  ) in zip(
    _draw(height, width, index=index), (CONFIG.global_area, CONFIG.local_area)
  ):
    fractions = group[:, 2] * group[:, 3] / (height * width)
    assert (fractions >= area[0] - 1e-9).all() and (
      fractions <= area[1] + 1e-9
    ).all()
    factors = group[:, 3] / group[:, 2] / (3 / 4)
    assert (factors >= 3 / 4 - 1e-9).all() and (factors <= 4 / 3 + 1e-9).all()


def test_areas_are_uniform_and_aspects_log_uniform():
  config = crops.CropConfig(local_area=(0.1, 0.3))  # Small: every draw fits.
  boxes = np.concatenate(
    [_draw(400, 300, config, index=index)[1] for index in range(1000)]
  )
  fractions = boxes[:, 2] * boxes[:, 3] / 120_000
  factors = np.log(boxes[:, 3] / boxes[:, 2] / 0.75) / math.log(4 / 3)
  # Of 4000 uniform draws the deciles are off by 0.01 of the range at most.
  deciles = np.linspace(0, 1, 11)
  np.testing.assert_allclose(
    np.quantile((fractions - 0.1) / 0.2, deciles), deciles, atol=0.03
  )
  np.testing.assert_allclose(
    np.quantile((factors + 1) / 2, deciles), deciles, atol=0.03
  )


@pytest.mark.parametrize("size", [(10, 4000), (4000, 10)])
def test_last_resort_is_the_largest_box_of_the_outputs_aspect(size):
  height, width = size
  for group in _draw(height, width):
    expected_width = min(width, height * 3 / 4)
    np.testing.assert_allclose(group[:, 3], expected_width)
    np.testing.assert_allclose(group[:, 2], expected_width / (3 / 4))
    assert len(np.unique(group[:, :2].sum(1))) == len(group)


def test_seed_index_and_epoch_alone_decide():
  same = _draw(70, 90, seed=3, index=5, epoch=7)
  for again, first in zip(_draw(70, 90, seed=3, index=5, epoch=7), same):
    np.testing.assert_array_equal(again, first)
  for key in ((4, 5, 7), (3, 6, 7), (3, 5, 8), (3, 7, 5)):
    other = _draw(70, 90, seed=key[0], index=key[1], epoch=key[2])
    assert not np.isclose(other[0], same[0]).any(axis=0).all()


# A changed draw would silently change what resumed and compared runs see.
GOLDEN_GLOBAL = [
  2.1208657684137457,
  9.0689183501658,
  95.13850239509316,
  68.24465082811705,
]
GOLDEN_LOCAL = [
  4.284867042753863,
  15.309753095873006,
  71.33690142671405,
  59.112064734584855,
]


def test_drawn_boxes_stay_what_they_were_when_this_was_written():
  boxes = _draw(100, 80, seed=1, index=2, epoch=3)
  np.testing.assert_allclose(boxes[0][0], GOLDEN_GLOBAL, rtol=1e-12)
  np.testing.assert_allclose(boxes[1][3], GOLDEN_LOCAL, rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.integers(0, 1000))
def test_required_size_is_enough_for_every_crop_and_hardly_more(
  height, width, index
):
  boxes = _draw(height, width, index=index)
  required = crops.required_size(height, width, boxes, CONFIG)
  assert 1 <= required[0] <= height and 1 <= required[1] <= width
  slack = []  # Pixels of a crop at the required size, over its output's.
  for group, size in zip(boxes, (CONFIG.global_size, CONFIG.local_size)):
    for _, _, crop_height, crop_width in group:
      tall = crop_height * required[0] / height / size[0]
      wide = crop_width * required[1] / width / size[1]
      slack.append(min(tall, wide))
  if required != (height, width):
    assert min(slack) >= 1 - 1e-9
    # One pixel less would be too small for some crop (sizes are rounded up).
    scale = min(
      (required[0] - 1) / required[0], (required[1] - 1) / required[1]
    )
    assert min(slack) * scale <= 1 + 1e-9


def test_required_size_of_a_small_image_is_its_own():
  boxes = _draw(20, 30)
  assert crops.required_size(20, 30, boxes, CONFIG) == (20, 30)


def test_required_size_with_global_crops_only():
  config = crops.CropConfig((64, 48), (32, 24), num_local=0)
  boxes = (np.array([[0.0, 0.0, 640.0, 480.0]]), np.empty((0, 4)))
  assert crops.required_size(1280, 960, boxes, config) == (128, 96)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.3, 1.9, 2.7, 5.2])
def test_cut_is_as_good_as_an_antialiased_resize(smooth_photo, factor):
  size = (80, 60)
  height, width = round(size[0] * factor), round(size[1] * factor)
  photo = smooth_photo(height, width)
  view = crops.cut(
    np.asarray(photo), (0, 0, height, width), photo.size[::-1], size
  )
  assert view.shape == (*size, 3) and view.dtype == np.uint8
  expected = np.asarray(photo.resize(size[::-1], Image.BICUBIC)).astype(int)
  error = np.mean((view - expected) ** 2.0)
  assert error < 255**2 / 10**4.0  # 40 dB


def test_cut_of_an_unequally_shrunk_image_leaves_no_pixel_out():
  stripes = np.zeros((8, 128, 3), np.uint8)
  stripes[:, ::2] = 200
  view = crops.cut(stripes, (0, 0, 8, 128), (8, 128), (8, 4))
  np.testing.assert_array_equal(view, np.full((8, 4, 3), 100))


def test_cut_takes_exactly_the_box(smooth_photo):
  photo = np.asarray(smooth_photo(60, 90))
  view = crops.cut(photo, (10, 30, 20, 40), (60, 90), (20, 40))
  np.testing.assert_array_equal(view, photo[10:30, 30:70])


@pytest.mark.parametrize("size", [(44, 33), (61, 70), (21, 16)])
def test_cut_gives_the_same_pixels_without_vector_code(size):
  # Whole-number arithmetic, so a machine without AVX sees the same crops.
  image = np.random.default_rng(0).integers(0, 256, (97, 83, 3), np.uint8)
  views = []
  for optimized in (True, False):
    cv2.setUseOptimized(optimized)
    views.append(crops.cut(image, (3.3, 2, 88.1, 80.6), (97, 83), size))
  cv2.setUseOptimized(True)
  np.testing.assert_array_equal(*views)


def test_cut_from_a_reduced_image_shows_the_same_part(smooth_photo):
  photo = smooth_photo(480, 640)
  reduced = np.asarray(photo.resize((160, 120), Image.BOX))
  box = (50.0, 100.0, 300.0, 400.0)
  full = crops.cut(np.asarray(photo), box, (480, 640), (30, 40)).astype(int)
  small = crops.cut(reduced, box, (480, 640), (30, 40)).astype(int)
  # Two different antialiasing filters on a smooth picture, half a pixel apart.
  assert np.abs(full - small).mean() < 3


@settings(max_examples=60, deadline=None)
@given(SIDES.filter(lambda n: n < 300), SIDES.filter(lambda n: n < 300))
def test_every_drawn_box_can_be_cut(height, width):
  image = np.full((height, width, 3), (9, 8, 7), np.uint8)
  for box in np.concatenate(_draw(height, width)):
    view = crops.cut(image, box, (height, width), (8, 6))
    assert (view == (9, 8, 7)).all()


@pytest.mark.parametrize(
  "field",
  [
    {"global_size": (0, 8)},
    {"local_size": (8,)},
    {"num_local": -1},
    {"global_area": (0.9, 0.5)},
    {"local_area": (0.0, 0.5)},
    {"local_area": (0.2, 1.5)},
    {"aspect_jitter": (0.0, 1.0)},
  ],
)
def test_a_senseless_field_is_named(field):
  with pytest.raises(ValueError, match=next(iter(field))):
    crops.CropConfig(**field)
