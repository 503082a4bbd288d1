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
