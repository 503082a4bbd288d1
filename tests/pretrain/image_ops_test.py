"""Photometric operations against PIL and plain NumPy."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from sapiens2_jax.pretrain import image_ops as ops

RNG = np.random.default_rng(0)
# A smooth picture with flat and saturated parts, not square.
SMOOTH = np.clip(
  np.cumsum(RNG.normal(0, 9, (40, 24, 3)), axis=0) + 128, 0, 255
).astype(np.uint8)
PIXELS = jnp.asarray(SMOOTH.transpose(2, 0, 1), jnp.float32) / 255
# PIL rounds to 8 bit, some steps twice.
EIGHT_BIT = 2 / 255


def close_to_pil(ours, pil, atol=EIGHT_BIT):
  expected = np.asarray(pil).transpose(2, 0, 1) / 255
  np.testing.assert_allclose(ours, expected, atol=atol)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_jitter_factors_agree_with_pil(factor):
  pil = Image.fromarray(SMOOTH)
  close_to_pil(
    ops.adjust_brightness(PIXELS, factor),
    ImageEnhance.Brightness(pil).enhance(factor),
  )
  close_to_pil(
    ops.adjust_contrast(PIXELS, factor),
    ImageEnhance.Contrast(pil).enhance(factor),
  )
  close_to_pil(
    ops.adjust_saturation(PIXELS, factor),
    ImageEnhance.Color(pil).enhance(factor),
  )


@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.07, 0.5])
def test_hue_agrees_with_colorsys(shift):
  ours = np.asarray(ops.adjust_hue(PIXELS, shift)).reshape(3, -1).T
  pixels = np.asarray(PIXELS).reshape(3, -1).T
  for pixel, found in zip(pixels[::7], ours[::7]):
    h, s, v = colorsys.rgb_to_hsv(*pixel.astype(float))
    expected = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_solarize_agrees_with_pil():
  close_to_pil(
    ops.solarize(PIXELS), ImageOps.solarize(Image.fromarray(SMOOTH), 128), 1e-6
  )


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_agrees_with_a_dense_convolution(sigma):
  offsets = np.arange(-4, 5)
  kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
  kernel = np.outer(kernel, kernel) / np.outer(kernel, kernel).sum()
  padded = np.pad(np.asarray(PIXELS), ((0, 0), (4, 4), (4, 4)), "reflect")
  windows = np.lib.stride_tricks.sliding_window_view(padded, (9, 9), (1, 2))
  expected = np.einsum("chwij,ij->chw", windows, kernel)
  np.testing.assert_allclose(
    ops.gaussian_blur(PIXELS, sigma), expected, atol=1e-6
  )
