"""Random changes of values: how often, how much, and never in place."""

import functools

import numpy as np
import pytest

from sapiens2_jax.tasks import photometric

FUNCTIONS = {
  "distort_colors": photometric.distort_colors,
  "resample": functools.partial(photometric.resample, factors=(0.1, 0.7)),
  "blur": photometric.blur,
  "add_noise": photometric.add_noise,
  "solarize": photometric.solarize,
  "compress": functools.partial(photometric.compress, quality=(30, 60)),
}


def picture(size=(48, 37)):
  rng = np.random.default_rng(0)
  walk = np.cumsum(rng.normal(0, 9, (*size, 3)), axis=0) + 128
  return np.clip(walk, 0, 255).astype(np.uint8)


class Scripted:
  """A generator whose draws are known: `chances`, then range ends by `at`."""

  def __init__(self, chances, at):
    self.chances, self.at = list(chances), at

  def random(self):
    return self.chances.pop(0)

  def uniform(self, low, high):
    return low + self.at * (high - low)

  def integers(self, low, high, endpoint):
    return round(low + self.at * (high - low))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shape_and_input_stay(name):
  image = picture()
  before = image.copy()
  found = FUNCTIONS[name](image, np.random.default_rng(1), probability=1.0)
  assert found.shape == image.shape and found.dtype == np.uint8
  np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_happens_as_often_as_asked(name):
  image, rng = picture((9, 7)), np.random.default_rng(2)
  assert FUNCTIONS[name](image, rng, probability=0.0) is image
  times = sum(
    FUNCTIONS[name](image, rng, probability=0.3) is not image
    for _ in range(400)
  )
  # Colours: 1 in 16 leaves all four steps out.
  expected = 0.3 * (15 / 16 if name == "distort_colors" else 1)
  assert abs(times / 400 - expected) < 4 * np.sqrt(0.3 * 0.7 / 400)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_generator_same_image(name):
  first, second = (
    FUNCTIONS[name](picture(), np.random.default_rng(3), probability=1.0)
    for _ in range(2)
  )
  np.testing.assert_array_equal(first, second)


def test_brightness_then_contrast_round_down_each():
  image = picture()
  # Apply; contrast second; brightness, contrast, neither of the others.
  rng = Scripted([0, 0.9, 0, 0, 1, 1], at=0.7)
  found = photometric.distort_colors(image, rng)
  bright = np.clip(image + 12.8, 0, 255).astype(np.uint8)
  expected = np.clip(bright * 1.2, 0, 255).astype(np.uint8)
  np.testing.assert_array_equal(found, expected)


def test_contrast_may_come_last():
  image = picture()
  first = photometric.distort_colors(image, Scripted([0, 0.9, *[0] * 4], 0.9))
  last = photometric.distort_colors(image, Scripted([0, 0, *[0] * 4], 0.9))
  assert (first != last).any()


def test_hue_turns_red_towards_green_or_blue():
  red = np.full((2, 3, 3), (200, 0, 0), np.uint8)
  # Only hue, by 36 degrees: 36 / 60 of the way to the second channel.
  found = photometric.distort_colors(red, Scripted([0, 0.9, 1, 1, 1, 0], 1.0))
  np.testing.assert_array_equal(found[0, 0], (200, 120, 0))
  found = photometric.distort_colors(red, Scripted([0, 0.9, 1, 1, 1, 0], 0.0))
  np.testing.assert_array_equal(found[0, 0], (200, 0, 120))


def test_saturation_leaves_grey_alone():
  grey = np.repeat(picture()[..., :1], 3, axis=2)
  found = photometric.distort_colors(grey, Scripted([0, 0.9, 1, 1, 0, 1], 1.0))
  np.testing.assert_array_equal(found, grey)


def test_solarize_inverts_above_128_only():
  image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
  found = photometric.solarize(image, Scripted([0], 0), probability=1.0)
  np.testing.assert_array_equal(
    found, np.where(image > 128, 255 - image, image)
  )


def test_noise_has_the_drawn_variance_and_no_bias():
  image = np.full((200, 150, 3), 128, np.uint8)
  variances = []
  for seed in range(8):
    rng = np.random.default_rng(seed)
    error = photometric.add_noise(image, rng, probability=1.0) - 128.0
    assert abs(error.mean()) < 0.1
    variances.append(error.var())
  assert 5 <= min(variances) + 0.1 < max(variances) < 20.5


def test_compression_keeps_colours_in_their_channels():
  image = np.full((16, 24, 3), (200, 90, 20), np.uint8)
  rng = np.random.default_rng(0)
  found = photometric.compress(image, rng, probability=1.0, quality=(30, 60))
  assert np.abs(found - image.astype(int)).max() < 12
