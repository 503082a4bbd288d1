import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import vocabulary
from sapiens2_jax.tasks.pose import codec
from tests import golden

GOLDEN = golden.load("golden_pose_codec")
SIZE = (256, 192)
IMAGE_SIZE = (1024, 768)

seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([(256, 192), (32, 24), (24, 40)])


def golden_points():
  factor = np.array([767 / 191, 1023 / 255], np.float32)
  points = np.array(GOLDEN["keypoints"], np.float32) / factor
  return points.astype(np.float64), np.array(GOLDEN["visible"]) > 0.5


def test_heatmaps_equal_those_of_the_public_release():
  maps = codec.encode_heatmaps(*golden_points(), SIZE)
  np.testing.assert_array_equal(
    maps[48:53, 23:28, 0],
    np.array(GOLDEN["patch_k0_rows48_52_cols23_27"], np.float32),
  )
  np.testing.assert_array_equal(
    maps.max((0, 1)), np.array(GOLDEN["heatmap_max"], np.float32)
  )
  sums = maps.sum((0, 1), dtype=np.float64)
  np.testing.assert_allclose(sums, GOLDEN["heatmap_sum"], rtol=1e-12)


def test_jax_makes_the_same_heatmaps():
  points, visible = golden_points()
  maps = codec.encode_heatmaps(
    jnp.asarray(points, jnp.float32), jnp.asarray(visible), SIZE, jnp
  )
  expected = codec.encode_heatmaps(points, visible, SIZE)
  np.testing.assert_allclose(maps, expected, atol=5e-7)  # float32


def test_decoded_points_equal_those_of_the_public_release():
  maps = codec.encode_heatmaps(*golden_points(), SIZE)
  points, scores = codec.decode_heatmaps(maps)
  expected = np.array(GOLDEN["decoded"], np.float64)
  found = points / (191, 255) * (768, 1024)
  known = ~np.isnan(expected[:, 0])
  np.testing.assert_allclose(found[known], expected[known], atol=2.5e-5)
  np.testing.assert_array_equal(points[~known], -1)  # ours; there NaN
  np.testing.assert_allclose(scores, GOLDEN["scores"], atol=1e-7)


def decode_whole_maps(maps):
  """As the public release does it, on one whole map after another.

  Returns:
    Points, and the smallest curvature at each: where it is next to nothing,
    the point is made of rounding.
  """
  points, curvatures = [], []
  for heatmap in np.moveaxis(maps, 2, 0):
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    if heatmap.max() <= 0:
      points.append((-1, -1))
      curvatures.append(np.inf)
      continue
    blurred = cv2.GaussianBlur(np.pad(heatmap, 5), (11, 11), 0)[5:-5, 5:-5]
    blurred = blurred * (heatmap.max() / blurred.max())
    log = np.log(np.clip(blurred, 1e-3, 50)).astype(np.float64)
    i = np.pad(log, 1, mode="edge")[y : y + 3, x : x + 3]
    step = np.array([i[1, 2] - i[1, 0], i[2, 1] - i[0, 1]]) / 2
    dxy = i[2, 2] - i[1, 2] - i[2, 1] + 2 * i[1, 1] - i[1, 0] - i[0, 1]
    dxy = (dxy + i[0, 0]) / 2
    hessian = [
      [i[1, 2] - 2 * i[1, 1] + i[1, 0], dxy],
      [dxy, i[2, 1] - 2 * i[1, 1] + i[0, 1]],
    ]
    hessian = np.array(hessian) + 1.19e-7 * np.eye(2)
    points.append(np.array([x, y]) - np.linalg.solve(hessian, step))
    curvatures.append(np.abs(np.linalg.eigvalsh(hessian)).min())
  return np.array(points), np.array(curvatures)


@settings(max_examples=20, deadline=None)
@given(seeds, sizes, st.sampled_from([1e-3, 1e-2, 1.0, 200.0]))
def test_blurring_a_few_pixels_decodes_as_blurring_them_all(seed, size, scale):
  rng = np.random.default_rng(seed)
  points = rng.uniform(-2, np.array(size[::-1]) + 1, (5, 2))
  maps = codec.encode_heatmaps(points, np.ones(5, bool), size)
  maps += rng.uniform(0, 0.02, maps.shape).astype(np.float32)
  maps = np.float32(scale) * maps
  maps[..., 0] *= -1
  found, _ = codec.decode_heatmaps(maps)
  expected, curvatures = decode_whole_maps(maps)
  # Off by float32's rounding, times how flat the peak is.
  # At 1e-3 all but the peak is at the decoder's floor.
  is_peak = (curvatures > 1e-3) | (scale > 1e-3)
  np.testing.assert_allclose(
    found[is_peak], expected[is_peak], rtol=1e-3, atol=2e-3
  )


@settings(max_examples=50, deadline=None)
@given(seeds, sizes)
def test_decoding_returns_what_was_encoded(seed, size):
  rng = np.random.default_rng(seed)
  # The decoder sees nothing beyond the border, which pulls points near it.
  reach = 5 + 3 * codec.heatmap_sigma(size)
  high = np.maximum(np.array(size[::-1]) - 1 - reach, reach + 0.5)
  points = rng.uniform(reach, high, (20, 2))
  maps = codec.encode_heatmaps(points, np.ones(20, bool), size)
  found, scores = codec.decode_heatmaps(maps)
  np.testing.assert_allclose(found, points, atol=0.2)
  assert scores.min() > 0.9


def test_points_that_are_not_visible_have_empty_heatmaps():
  points = np.full((2, 2), 10.0)
  maps = codec.encode_heatmaps(points, np.array([True, False]), (32, 24))
  assert maps[..., 0].max() == 1
  assert not maps[..., 1].any()


regions = st.tuples(
  *(st.floats(-500, 3000), st.floats(-500, 3000)),
  *(st.floats(8, 4000), st.floats(8, 4000)),
)


@given(regions, st.sampled_from([(1024, 768), (128, 96), (96, 160)]))
def test_the_way_back_to_the_image_inverts_the_crop(region, image_size):
  center = np.array(region[:2])
  extent = codec.fit_aspect(np.array(region[2:]), image_size)
  affine = codec.crop_affine(center, extent, image_size)
  rng = np.random.default_rng(0)
  points = center + rng.uniform(-1, 1, (9, 2)) * extent
  seen = codec.transform_points(points, affine)
  size = codec.heatmap_size(image_size)
  ends = np.array(image_size[::-1]) - 1
  seen = seen * (np.array(size[::-1]) - 1) / ends
  found = codec.heatmap_to_image(seen, size, center, extent)
  np.testing.assert_allclose(found, points, atol=1e-6)


@given(regions, st.floats(-180, 180))
def test_a_turned_crop_keeps_its_centre_and_its_shape(region, angle):
  center = np.array(region[:2])
  extent = codec.fit_aspect(np.array(region[2:]), (1024, 1024))
  affine = codec.crop_affine(center, extent, (1024, 1024), angle)
  middle = codec.transform_points(center[None], affine)[0]
  np.testing.assert_allclose(middle, [511.5, 511.5], atol=1e-6)
  scale = 1023 / extent[0]
  np.testing.assert_allclose(
    affine[:, :2] @ affine[:, :2].T, scale**2 * np.eye(2), atol=1e-6 * scale**2
  )


@pytest.mark.parametrize("image_size", [(1024, 768), (96, 160)])
def test_regions_get_the_aspect_and_are_never_cut(image_size):
  for extent in ([300.0, 100.0], [100.0, 300.0]):
    width, height = codec.fit_aspect(np.array(extent), image_size)
    assert width / height == pytest.approx(image_size[1] / image_size[0])
    assert width >= extent[0] and height >= extent[1]


def test_a_crop_surrounds_its_box():
  center, extent = codec.box_region((10, 20, 200, 100))
  np.testing.assert_array_equal(center, [70, 110])
  np.testing.assert_array_equal(extent, [125, 250])


def test_warped_pixels_lie_where_points_do():
  image = np.zeros((90, 120, 3), np.uint8)
  image[40:43, 70:73] = 255
  center, extent = np.array([60.0, 45.0]), np.array([90.0, 120.0])
  affine = codec.crop_affine(center, extent, (256, 192), 30.0)
  crop = codec.warp_image(image, affine, (256, 192))
  rows, cols = np.nonzero(crop[..., 0] > 128)
  expected = codec.transform_points(np.array([[71.0, 41.0]]), affine)
  np.testing.assert_allclose([cols.mean(), rows.mean()], expected[0], atol=0.5)


@given(seeds)
def test_heatmaps_of_the_mirror_image_average_with_themselves(seed):
  rng = np.random.default_rng(seed)
  flip = np.array(vocabulary.keypoints()["flip_indices"])
  maps = rng.standard_normal((6, 4, 308)).astype(np.float32)
  mirrored = maps[:, ::-1, flip]
  mean = codec.average_flipped(maps, mirrored, flip)
  np.testing.assert_array_equal(mean, maps)
