"""Alpha stays with its image; what is uncovered is white and nobody."""

import cv2
import numpy as np
import pytest

from sapiens2_jax.tasks.matting import views as matte_views


def disc(size=(80, 60)):
  """A black disc with a soft edge on white."""
  alpha = np.zeros(size, np.uint8)
  cv2.circle(alpha, (size[1] // 3, size[0] // 2), min(size) // 4, 255, -1)
  alpha = cv2.GaussianBlur(alpha, (5, 5), 1.0)
  return np.repeat(255 - alpha[..., None], 3, axis=2), alpha


@pytest.mark.parametrize("size", [(64, 48), (48, 80)])
def test_alpha_stays_with_its_image(size):
  image, alpha = disc()
  for seed in range(40):
    rng = np.random.default_rng(seed)
    view, matte = matte_views.augment(image, alpha, size, rng)
    assert view.shape == (*size, 3) and matte.shape == size
    assert view.dtype == matte.dtype == np.uint8
    # Whatever became of colours, dark is where people are.
    people, nobody = view[matte > 250], view[matte == 0]
    if len(people) and len(nobody):
      assert people.mean() + 60 < nobody.mean()


def test_uncovered_pixels_are_white_and_nobody():
  image, alpha = disc()
  image[:] = 0
  view, matte = matte_views.rotate(image, alpha, 45)
  assert (view[0, 0] == 255).all() and matte[0, 0] == 0
  assert not view[40, 30].any()


def test_rotating_back_gives_the_middle_back():
  image, alpha = disc()
  _, turned = matte_views.rotate(*matte_views.rotate(image, alpha, 30), -30)
  error = np.abs(turned.astype(int) - alpha)[20:-20, 15:-15]
  assert error.mean() < 4


def test_padding_is_a_fraction_of_the_width_on_all_sides():
  image = np.zeros((100, 80, 3), np.uint8)
  image[10:90, 20:60] = 5  # 40 wide, 80 high: 4 pixels on each side.
  alpha = np.zeros((100, 80), np.uint8)
  alpha[10:90, 20:60] = 255
  view, cut = matte_views.crop_to_people(image, alpha, 0.1)
  # Rows 6 to 93 and columns 16 to 63, then columns up to the aspect of 0.8.
  assert view.shape == (88, 70, 3) and cut.shape == (88, 70)
  assert cut[4:84].all(axis=0).sum() == 40 and not cut[:4].any()
  assert (view[:, :11] == 255).all() and (view[:, 11:15] == 0).all()
  assert (view[4:84, 15:55] == 5).all() and (view[:, 59:] == 255).all()


def test_colours_go_where_alpha_goes_and_change_as_the_image_does():
  _, alpha = disc()
  colors = np.full((*alpha.shape, 3), (200, 120, 60), np.uint8)
  matte = np.dstack([matte_views.multiply(colors, alpha), alpha])
  image = matte_views.composite(matte, np.zeros_like(colors))
  for seed in range(30):
    given = image, alpha, (64, 48)
    rng = np.random.default_rng(seed)
    _, plain = matte_views.augment(*given, rng)
    rng = np.random.default_rng(seed)
    view, found = matte_views.augment(image, matte, (64, 48), rng)
    assert np.abs(found[..., 3].astype(int) - plain).max() <= 1
    inside, outside = found[..., 3] > 250, found[..., 3] == 0
    assert not found[outside].any()
    assert (found[..., :3].max(-1) <= found[..., 3]).all()
    if inside.any():  # But for the marks of JPEG, of which colours have none.
      apart = np.abs(found[inside][:, :3].astype(int) - view[inside])
      assert np.median(apart) <= 6


def test_people_are_put_before_a_background_in_linear_light():
  matte = np.zeros((1, 5, 4), np.uint8)
  matte[0] = [
    (9, 9, 9, 255),
    (0, 0, 0, 0),
    (100, 50, 0, 128),  # Already times alpha.
    (0, 0, 0, 51),
    (3, 3, 3, 3),
  ]
  background = np.full((1, 5, 3), 200, np.uint8)
  found = matte_views.composite(matte, background)[0]

  def level(color, alpha):
    def linear(v):
      return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    light = linear(color / 255) + (1 - alpha / 255) * linear(200 / 255)
    root = 1.055 * light ** (1 / 2.4) - 0.055
    return int(255 * (root if light > 0.0031308 else 12.92 * light))

  assert found[0].tolist() == [9, 9, 9] and found[1].tolist() == [200] * 3
  assert found[2].tolist() == [level(c, 128) for c in (100, 50, 0)]
  assert found[2].tolist() == [172, 153, 146]  # Of levels: 199, 149, 99.
  assert found[3].tolist() == [level(0, 51)] * 3
  assert found[4].tolist() == [level(3, 3)] * 3


@pytest.mark.parametrize("padding", [0.0, 0.1])
def test_cut_holds_all_of_alpha_and_keeps_the_aspect(padding):
  image, alpha = disc()
  view, cut = matte_views.crop_to_people(image, alpha, padding)
  assert cut.astype(int).sum() == alpha.astype(int).sum()
  assert cut.size < alpha.size
  height, width = cut.shape
  assert abs(width / height - 60 / 80) < 0.03
  np.testing.assert_array_equal(view[..., 0], 255 - cut)


def test_an_image_of_nobody_is_left_whole():
  image, alpha = disc()
  view, cut = matte_views.crop_to_people(image, np.zeros_like(alpha), 0.1)
  assert view.shape == image.shape and not cut.any()
