"""Image, maps and intrinsics stay together, whatever is done to them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.corpus import labels as labels_lib
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks import geometric
from tests.tasks import samples

SIZES = st.tuples(st.integers(12, 60), st.integers(12, 60))
# A plane, seen by a camera: its depth and normal are known at every pixel.
PLANE = np.array([0.2, -0.3, 1.0])


def plane(size):
  """A slanted plane whose albedo's red and green are place in the plane."""
  height, width = size
  k = np.float32([[50, 0, width * 0.45], [0, 55, height * 0.6], [0, 0, 1]])
  rows, cols = np.indices(size)
  rays = np.stack([(cols - k[0, 2]) / 50, (rows - k[1, 2]) / 55], -1)
  depth = 2 / (rays @ PLANE[:2] + PLANE[2])
  normal = np.array([-PLANE[0], PLANE[1], PLANE[2]]) / np.linalg.norm(PLANE)
  image = np.zeros((*size, 3), np.uint8)
  image[..., 0] = np.arange(width) * 4
  image[..., 1] = np.arange(height)[:, None] * 4
  labels = Labels(
    alpha=np.full(size, 255, np.uint8),
    normal=np.broadcast_to(normal, (*size, 3)).astype(np.float32),
    depth=depth.astype(np.float32),
    intrinsics=k,
    albedo=image.copy(),
  )
  return image, labels


def assert_on_plane(labels, mirrored=1, tolerance=0.0):
  """All points lie on the plane: depth and intrinsics belong together."""
  points = labels.pointmap()[labels.mask]
  distance = points @ (PLANE * [mirrored, 1, 1]) - 2
  assert np.abs(distance).max() <= tolerance + 1e-4


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_flipping_twice_is_the_identity(size):
  image, labels = plane(size)
  once = geometric.flip(image, labels)
  assert_on_plane(once[1], mirrored=-1)
  again, twice = geometric.flip(*once)
  np.testing.assert_array_equal(again, image)
  for name in ("alpha", "normal", "depth", "intrinsics", "albedo"):
    np.testing.assert_allclose(
      getattr(twice, name), getattr(labels, name), rtol=1e-6
    )


def test_flip_turns_normals_to_the_other_side():
  image, labels = plane((20, 31))
  _, flipped = geometric.flip(image, labels)
  np.testing.assert_array_equal(
    flipped.normal[0, 0], labels.normal[0, 0] * [-1, 1, 1]
  )
  assert flipped.normal.dtype == np.float32


@given(SIZES, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_crops_keep_points_where_they_are(size, seed):
  image, labels = plane(size)
  box = geometric.draw_crop(size, np.random.default_rng(seed))
  top, left, height, width = box
  assert min(box) >= 0 and height * width >= 0.35 * math.prod(size)
  assert top + height <= size[0] and left + width <= size[1]
  cut, cropped = geometric.crop(image, labels, box)
  assert cut.shape[:2] == cropped.depth.shape == (height, width)
  assert_on_plane(cropped)


@given(SIZES, SIZES)
@settings(max_examples=40, deadline=None)
def test_resizing_keeps_points_within_half_a_pixel(size, new):
  _, resized = geometric.resize(*plane(size), new)
  # Depth is that of the nearest old pixel: at most half of one away.
  step = max(0.5, *(0.5 * n / o for n, o in zip(new, size))) / min(new) * 4
  assert resized.depth.shape == new
  assert_on_plane(resized, tolerance=2 * step)
  # On average there is no shift at all.
  points = resized.pointmap()
  assert abs(np.mean(points @ PLANE - 2)) < 0.25 * step + 0.02


def test_doubling_puts_centres_between_the_old_ones():
  image, labels = plane((16, 24))
  _, doubled = geometric.resize(image, labels, (32, 48))
  fx, cx = labels.intrinsics[0, [0, 2]]
  np.testing.assert_allclose(
    doubled.intrinsics[0, [0, 2]], [2 * fx, 2 * cx + 0.5]
  )
  np.testing.assert_array_equal(doubled.depth[::2, ::2], labels.depth)
  np.testing.assert_array_equal(doubled.depth[1::2, 1::2], labels.depth)


@pytest.mark.parametrize("rounding", [round, math.floor])
@pytest.mark.parametrize("size", [(30, 50), (50, 30), (37, 21), (64, 48)])
def test_letterbox_is_centred_and_black_around(size, rounding):
  image, labels = plane(size)
  canvas, boxed = geometric.letterbox(image + 1, labels, (64, 48), rounding)
  box = geometric.fit(size, (64, 48), rounding)
  assert canvas.shape == (64, 48, 3) and boxed.normal.shape == (64, 48, 3)
  assert 64 - box.height in (2 * box.top, 2 * box.top + 1)
  assert box.height == 64 or box.width == 48
  inside = np.zeros((64, 48), bool)
  inside[box.top :, box.left :][: box.height, : box.width] = True
  np.testing.assert_array_equal(boxed.mask, inside)
  np.testing.assert_array_equal(canvas.any(-1), inside)
  assert not boxed.depth[~inside].any()
  assert_on_plane(boxed, tolerance=0.1)


def test_test_time_size_is_rounded_down():
  assert geometric.fit((100, 77), (64, 48)).height == 62
  assert geometric.fit((1000, 777), (64, 48), math.floor).height == 61
  assert geometric.fit((1, 1000), (64, 48), math.floor).height == 1


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (120, 90)])
def test_uncover_brings_a_canvas_back_to_the_image(size):
  rows, cols = np.indices(size)
  smooth = np.stack([rows, cols, rows + cols], -1).astype(np.uint8)
  canvas, _ = geometric.letterbox(smooth, Labels(), (64, 48), math.floor)
  box = geometric.fit(size, (64, 48), math.floor)
  found = geometric.uncover(canvas.astype(np.float32), box)
  assert found.shape == (*size, 3)
  assert np.abs(found - smooth)[4:-4, 4:-4].max() < 2


def test_random_view_keeps_image_and_albedo_together():
  image, labels = plane((57, 40))
  changed = 0
  for seed in range(30):
    rng = np.random.default_rng(seed)
    view, seen = geometric.random_view(image, labels, rng)
    np.testing.assert_array_equal(view, seen.albedo)
    assert view.shape[:2] == seen.depth.shape
    side = np.sign(-seen.normal[0, 0, 0])
    assert_on_plane(seen, mirrored=side, tolerance=0.15)
    changed += view.shape != image.shape or side < 0
  # 1 - 0.7 ** 3 of them are.
  assert 12 <= changed <= 27


def test_labels_alone_go_the_same_way():
  image, labels = plane((30, 50))
  _, expected = geometric.letterbox(image, labels, (64, 48), math.floor)
  found = geometric.letterbox_labels(labels, (64, 48), math.floor)
  np.testing.assert_array_equal(found.normal, expected.normal)
  np.testing.assert_array_equal(found.intrinsics, expected.intrinsics)


@pytest.mark.parametrize("new", [(40, 31), (11, 7)])
def test_edges_of_people_keep_their_colour(new):
  image, labels = plane((20, 15))
  mask = np.zeros((20, 15), bool)
  mask[5:14, 3:9] = True
  albedo = np.where(mask[..., None], np.uint8(200), np.uint8(0))
  labels = Labels(
    alpha=np.where(mask, 255, 0).astype(np.uint8),
    albedo=np.repeat(albedo, 3, axis=-1),
  )
  _, resized = geometric.resize(image, labels, new)
  assert resized.mask.any()
  assert np.abs(resized.albedo[resized.mask] - 200.0).max() <= 2


def test_nearest_agrees_with_the_centre_of_a_pixel():
  row = np.arange(7, dtype=np.float32)[None]
  labels = Labels(alpha=np.full((1, 7), 255, np.uint8), depth=row)
  image = np.zeros((1, 7, 3), np.uint8)
  _, resized = geometric.resize(image, labels, (1, 3))
  expected = np.floor((np.arange(3) + 0.5) * 7 / 3)
  np.testing.assert_array_equal(resized.depth[0], expected)


@pytest.mark.parametrize("dtype", labels_lib.EXTRA_DTYPES)
def test_maps_of_other_packages_go_where_alpha_goes(dtype):
  image, labels = samples.ball((45, 60))
  extra = {
    "same": labels.alpha.astype(dtype)[..., None],
    "age": np.array([31], dtype),
  }
  labels = labels.replace(**extra)
  for seed in range(8):
    rng = np.random.default_rng(seed)
    _, found = geometric.random_view(image, labels, rng, probability=0.7)
    found = geometric.letterbox_labels(found, (64, 48))
    assert found.extra["same"].dtype == dtype
    wanted = found.alpha.astype(dtype)[..., None]
    np.testing.assert_array_equal(found.extra["same"], wanted)
    assert found.extra["age"].tolist() == [31]
