"""Losses of maps: values of the reference, NumPy, zero at the target."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.tasks import dense
from sapiens2_jax.tasks.matting import losses as matting
from sapiens2_jax.tasks.pointmap import losses as pointmap
from tests import golden

MAP = (2, 3, 16, 12)
RTOL = 2e-5  # float32, summed in another order
FOCAL = [
  [[20, 0, 5.5], [0, 22, 7.5], [0, 0, 1]],
  [[18, 0, 6], [0, 18, 8], [0, 0, 1]],
]


def draw(t):
  """A golden map, channels last."""
  return golden.rnd(MAP, t).astype(np.float32).transpose(0, 2, 3, 1)


@functools.cache
def inputs():
  mask = golden.rnd((2, 1, 16, 12), 3000)[:, 0] > -0.4
  p = draw(3001) + np.float32([0, 0, 3])
  whole = draw(3002) + np.float32([0, 0, 3])
  g = whole * mask[..., None]
  mean = (g[..., 2] * mask).sum((1, 2)) / mask.sum((1, 2))
  mean = mean[:, None, None, None].astype(np.float32)
  arrays = {
    "mask": mask,
    "prediction": draw(3001),
    "target": draw(3002),
    "albedo": 0.5 + 0.7 * draw(3003),
    "albedo_target": 0.5 + 0.5 * draw(3004),
    "p": p,
    "g": g,
    "whole": whole,
    "p_mean": p / mean,
    "g_mean": g / mean,
    "k": np.float32(FOCAL),
  }
  return {name: jnp.asarray(array) for name, array in arrays.items()}


CASES = {
  "normal_cosine": lambda a: (
    10 * dense.cosine_loss(a["prediction"], a["target"], a["mask"])
  ),
  "l1": lambda a: dense.masked_l1(a["prediction"], a["target"], a["mask"]),
  "normal_grad": lambda a: (
    10 * dense.gradient_loss(a["prediction"], a["target"], a["mask"])
  ),
  "albedo_l1": lambda a: (
    2 * dense.masked_l1(a["albedo"], a["albedo_target"], a["mask"])
  ),
  "albedo_grad": lambda a: dense.gradient_loss(
    a["albedo"], a["albedo_target"], a["mask"]
  ),
  "albedo_chroma": lambda a: dense.chromaticity_loss(
    a["albedo"], a["albedo_target"], a["mask"]
  ),
  "pm_l1_over_mean_depth": lambda a: (
    2 * dense.masked_l1(a["p_mean"], a["g_mean"], a["mask"])
  ),
  "pm_multiscale": lambda a: pointmap.multiscale_loss(
    a["p_mean"], a["g_mean"], a["mask"]
  ),
  "pm_silog": lambda a: pointmap.silog_loss(
    a["p"][..., 2], a["g"][..., 2], a["mask"]
  ),
  "pm_K_consistency": lambda a: pointmap.intrinsics_loss(
    a["p"], a["k"], a["mask"]
  ),
  "pm_shift_invariant": lambda a: pointmap.shift_invariant_loss(
    a["p_mean"], a["g_mean"], a["mask"]
  ),
  "pm_normal_fullmask": lambda a: (
    2
    * pointmap.surface_loss(
      a["p"], a["whole"], jnp.array([1.3, 0.8]), jnp.ones_like(a["mask"])
    )
  ),
  "pm_scale_l1": lambda a: (
    4 * pointmap.scale_loss(jnp.array([1.1, 1.0]), jnp.array([1.3, 0.8]))
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_value_is_that_of_the_reference(name):
  expected = golden.load("golden_losses")[name]["value"]
  np.testing.assert_allclose(CASES[name](inputs()), expected, rtol=RTOL)


# (prediction, target, mask) -> loss
LOSSES = {
  "masked_l1": dense.masked_l1,
  "cosine": dense.cosine_loss,
  "gradient": dense.gradient_loss,
  "chromaticity": dense.chromaticity_loss,
  "multiscale": pointmap.multiscale_loss,
  "silog": lambda p, t, m: pointmap.silog_loss(p[..., 2], t[..., 2], m),
  "shift_invariant": pointmap.shift_invariant_loss,
  "surface": lambda p, t, m: pointmap.surface_loss(p, t, jnp.ones(2), m),
  "matte_l1": lambda p, t, m: matting.l1_loss(p, t, m[..., None]).mean(),
  "sobel": lambda p, t, m: matting.sobel_loss(p, t, m[..., None]).mean(),
  "laplacian": lambda p, t, m: matting.laplacian_loss(
    p, t, m[..., None]
  ).mean(),
}
LOSSES = {name: jax.jit(loss) for name, loss in LOSSES.items()}


def maps(size=(48, 64)):
  rng = np.random.default_rng(0)
  target = rng.uniform(0.1, 0.9, (2, *size, 3)).astype(np.float32)
  prediction = target + rng.normal(0, 0.1, target.shape).astype(np.float32)
  mask = rng.random((2, *size)) < 0.7
  return tuple(map(jnp.asarray, (prediction, target, mask)))


@pytest.mark.parametrize("name", LOSSES)
def test_loss_falls_to_zero_at_the_target_and_has_a_gradient(name):
  prediction, target, mask = maps()
  loss = jax.value_and_grad(LOSSES[name])
  far, _ = loss(prediction, target, mask)
  near, slope = loss(target + 0.1 * (prediction - target), target, mask)
  zero, slope_there = loss(target, target, mask)
  assert zero < 2e-6 < near < 0.4 * far
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0
  assert np.isfinite(slope_there).all()


# These look across the edge of their mask.
ACROSS = ("sobel", "laplacian", "multiscale")


@pytest.mark.parametrize("name", [n for n in LOSSES if n not in ACROSS])
def test_what_lies_outside_the_mask_does_not_count(name):
  prediction, target, mask = maps()
  mask = jnp.zeros_like(mask).at[:, 16:32].set(True)
  changed = prediction.at[:, :16].set(7.0).at[:, 32:].set(-7.0)
  found = LOSSES[name](changed, target, mask)
  expected = LOSSES[name](prediction, target, mask)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_costs_nothing(name):
  prediction, target, mask = maps()
  loss = jax.value_and_grad(LOSSES[name])
  value, slope = loss(prediction, target, jnp.zeros_like(mask))
  assert value < 2e-6 and not np.asarray(slope).any()


def test_points_on_their_rays_keep_to_the_intrinsics():
  k = inputs()["k"]
  rows, cols = np.indices((16, 12))
  pixels = np.stack([cols, rows, np.ones((16, 12))], -1)
  rays = np.einsum("bij,hwj->bhwi", np.linalg.inv(k), pixels)
  points = jnp.asarray(rays * 2.5, jnp.float32)
  mask = jnp.ones((2, 16, 12), bool)
  assert pointmap.intrinsics_loss(points, k, mask) < 1e-5
  assert pointmap.intrinsics_loss(points + 0.1, k, mask) > 0.05


def test_normals_of_a_cut_out_are_those_of_the_whole():
  a = inputs()
  mask = jnp.zeros_like(a["mask"]).at[:, 3:9, 2:8].set(True)
  outside = jnp.where(mask[..., None], a["whole"], 0.0)
  scale = jnp.ones(2)
  found = pointmap.surface_loss(a["p"], outside, scale, mask)
  inner = jnp.zeros_like(mask).at[:, 3:8, 2:7].set(True)
  grown = inner.at[:, 3:9, 2:8].set(True)
  np.testing.assert_allclose(
    found, pointmap.surface_loss(a["p"], a["whole"], scale, grown), rtol=1e-6
  )


def numpy_pyramid(image):
  kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

  def blur(x):
    return cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT_101)

  levels = []
  for _ in range(4):
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    small = blur(image)[::2, ::2]
    zeros = np.zeros_like(image)
    zeros[::2, ::2] = small
    levels.append(image - 4 * blur(zeros))
    image = small
  return [*levels, image]


@pytest.mark.parametrize("size", [(64, 48), (50, 71)])
def test_laplacian_is_the_pyramid_of_numpy(size):
  prediction, target, mask = maps(size)
  expected = 0.0
  for p, t, m in zip(*map(np.asarray, (prediction, target, mask))):
    for level, (a, b) in enumerate(zip(numpy_pyramid(p), numpy_pyramid(t))):
      rows = np.arange(a.shape[0]) * 2**level
      cols = np.arange(a.shape[1]) * 2**level
      error = np.abs(a - b) * m[rows][:, cols, None]
      expected += 2**level * error.mean() / 5 / len(prediction)
  found = LOSSES["laplacian"](prediction, target, mask)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_sobel_is_that_of_opencv():
  prediction, target, mask = maps()

  def size(image):
    border = cv2.BORDER_REFLECT_101
    x = cv2.Sobel(image, cv2.CV_32F, 1, 0, borderType=border)
    y = cv2.Sobel(image, cv2.CV_32F, 0, 1, borderType=border)
    return np.sqrt(x**2 + y**2 + 1e-6)

  images = zip(*map(np.asarray, (prediction, target, mask)))
  expected = np.mean(
    [np.abs(size(p) - size(t)) * m[..., None] for p, t, m in images]
  )
  found = LOSSES["sobel"](prediction, target, mask)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_channels_have_losses_and_masks_of_their_own():
  prediction, target, mask = maps()
  masks = jnp.stack([mask, ~mask, jnp.zeros_like(mask)], -1)
  for loss in (matting.l1_loss, matting.sobel_loss, matting.laplacian_loss):
    loss = jax.jit(loss)
    found = loss(prediction, target, masks)
    alone = loss(prediction[..., 1:2], target[..., 1:2], ~mask[..., None])
    np.testing.assert_allclose(found[1], alone[0], rtol=1e-6)
    assert found[0] > 0 and found[2] == 0


def test_a_map_too_small_for_the_pyramid_is_refused():
  with pytest.raises(ValueError, match="each side needs 48"):
    LOSSES["laplacian"](*maps((47, 64)))
