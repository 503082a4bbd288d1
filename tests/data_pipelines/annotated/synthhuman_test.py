"""SynthHuman: files as its README describes them, written here."""

import sys

import numpy as np
import OpenEXR
import pytest

from data_pipelines import annotated
from data_pipelines.annotated import synthhuman
from data_pipelines.common import images
from data_pipelines.open_source import open_field, open_source
from tests.data_pipelines.annotated import made

SIZE = (40, 30)
K = np.array([[60, 0, 14.5], [0, 62, 19.5], [0, 0, 1]])
NOTHING = 65504


def ball():
  """Normals in our axes, and depth in metres, of a ball; and where it is."""
  rows, cols = np.indices(SIZE)
  rays = np.stack([(cols - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1]], -1)
  rays = np.concatenate([rays, np.ones((*SIZE, 1))], axis=-1)
  center, radius = np.array([0.02, -0.03, 2.0]), 0.4
  a = (rays**2).sum(-1)
  b = rays @ center
  inside = b**2 - a * (center @ center - radius**2)
  mask = inside > 0
  depth = (b - np.sqrt(np.where(mask, inside, 0))) / a
  normal = (rays * depth[..., None] - center) / radius
  return normal * [1, -1, -1], depth, mask


def write_exr(path, channels):
  header = {"compression": OpenEXR.ZIP_COMPRESSION}
  header["type"] = OpenEXR.scanlineimage
  path.parent.mkdir(parents=True, exist_ok=True)
  OpenEXR.File(header, channels).write(str(path))


def write_normal(path, normal, dtype=np.float32):
  write_exr(path, {"RGB": np.ascontiguousarray(normal, dtype)})


def write_sample(directory, number=0, dtype=np.float32):
  """The five files; a soft edge, and a pixel of people with nothing in it."""
  normal, depth, mask = ball()
  name = f"{number:07d}"
  made.write_image(directory / f"rgb_{name}.png", SIZE, number)
  alpha = np.where(mask, 255, 0).astype(np.uint8)
  rows, cols = np.nonzero(mask)
  alpha[rows[0], cols[0]], alpha[0, 0] = 130, 90
  made.write_pixels(directory / f"alpha_{name}.png", alpha)
  stored = np.where(mask, 100 * depth, NOTHING)
  stored[20, 15] = NOTHING
  write_exr(directory / f"depth_{name}.exr", {"Y": stored.astype(dtype)})
  write_normal(directory / f"normal_{name}.exr", normal, dtype)
  np.savetxt(directory / f"cam_{name}.txt", K)
  return normal, depth, mask, alpha


def read(directory, index=0, **options):
  source = synthhuman.SynthHumanSource(str(directory), **options)
  return source.read_labels(index, source[index])


@pytest.fixture
def sample(tmp_path):
  return tmp_path, *write_sample(tmp_path)


def refused(directory, match, kind="bad labels", **options):
  source = synthhuman.SynthHumanSource(str(directory), **options)
  with pytest.raises(images.ImageDecodeError, match=match) as error:
    source[0]
  assert error.value.reason == kind


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_sample_becomes_our_labels(tmp_path, dtype):
  normal, depth, mask, alpha = write_sample(tmp_path, dtype=dtype)
  labels = read(tmp_path)
  mask[20, 15] = False
  np.testing.assert_array_equal(labels.mask, mask)
  alpha[20, 15] = 127
  np.testing.assert_array_equal(labels.alpha, alpha)
  rtol = 1e-6 if dtype == np.float32 else 1e-3
  np.testing.assert_allclose(labels.depth[mask], depth[mask], rtol=rtol)
  np.testing.assert_allclose(labels.intrinsics, K)
  np.testing.assert_allclose(
    labels.normal[mask], normal[mask], atol=2e-3 if rtol > 1e-6 else 1e-5
  )
  assert not labels.normal[~mask].any() and not labels.depth[~mask].any()
  length = np.linalg.norm(labels.normal[mask], axis=-1)
  np.testing.assert_allclose(length, 1, atol=1e-5)


def test_points_lie_on_the_ball(sample):
  stored = made.labels_of(synthhuman.SynthHumanSource(str(sample[0])))
  points = stored.pointmap()[stored.mask]
  away = np.linalg.norm(points - [0.02, -0.03, 2.0], axis=-1)
  np.testing.assert_allclose(away, 0.4, atol=1e-4)


@pytest.mark.parametrize(
  ("axes", "back"),
  [
    ("x-y-z", lambda n: n * [1, -1, -1]),
    ("x-yz", lambda n: n * [1, -1, 1]),
    ("-xyz", lambda n: n * [-1, 1, 1]),
    ("yxz", lambda n: n[..., [1, 0, 2]]),
  ],
)
def test_other_axes_are_found_by_the_depth_and_can_be_said(sample, axes, back):
  directory, normal, *_ = sample
  write_normal(directory / "normal_0000000.exr", back(normal))
  refused(directory, rf"with the axes xyz, .*; say axes={axes}\)$")
  found = open_source(f"synthhuman:{directory},axes={axes}")
  labels = made.labels_of(found)
  mask = labels.mask
  np.testing.assert_allclose(labels.normal[mask], normal[mask], atol=1e-3)


def test_normals_of_another_surface_are_refused(sample):
  directory, normal, *_ = sample
  noise = np.random.default_rng(0).standard_normal(normal.shape)
  noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
  write_normal(directory / "normal_0000000.exr", noise)
  refused(directory, "normal_.*normals and depth contradict each other")


def test_colours_are_no_normals(sample):
  directory, normal, *_ = sample
  write_normal(directory / "normal_0000000.exr", normal / 2 + 0.5)
  refused(directory, "normal_.*expected unit vectors")


@pytest.mark.parametrize("kind", ["alpha", "depth", "normal", "cam"])
def test_a_missing_file_is_named(sample, kind):
  (found,) = sample[0].glob(f"{kind}_*")
  found.unlink()
  refused(sample[0], rf"{kind}_0000000\.\*: no such file", "missing labels")


@pytest.mark.parametrize("kind", ["depth", "normal"])
@pytest.mark.parametrize("keep", [0, 7, 200, -30])
def test_half_a_file_is_named(sample, kind, keep):
  path = sample[0] / f"{kind}_0000000.exr"
  path.write_bytes(path.read_bytes()[:keep])
  refused(sample[0], f"{kind}_0000000.exr: no OpenEXR file")


def test_another_size_or_other_channels_are_named(sample):
  directory, normal, depth, *_ = sample
  path = directory / "depth_0000000.exr"
  write_exr(path, {"Y": np.ones((40, 31), np.float32)})
  refused(directory, r"depth_.*\(40, 31\), its image is \(40, 30\)")
  write_normal(path, normal)
  refused(directory, "depth_.*channels B G R, expected one")
  write_exr(path, {"Y": (100 * depth).astype(np.float32)})
  write_exr(directory / "normal_0000000.exr", {"Y": np.ones(SIZE, np.float32)})
  refused(directory, "normal_.*channels Y, expected R G B")
  write_normal(directory / "normal_0000000.exr", normal)
  made.write_pixels(directory / "alpha_0000000.png", np.ones((9, 9), np.uint8))
  refused(directory, r"alpha_.*\(9, 9\), its image is \(40, 30\)")


def test_depth_in_millimetres_is_refused(sample):
  directory, _, depth, *_ = sample
  write_exr(
    directory / "depth_0000000.exr", {"Y": (5e4 * depth / 2).astype("f4")}
  )
  refused(directory, "depth_.*these may be millimetres; expected centimetres")


def test_a_camera_that_is_none_is_named(sample):
  (sample[0] / "cam_0000000.txt").write_text("1 2\n3 4\n")
  refused(sample[0], r"cam_.*\(2, 2\) numbers, expected \(3, 3\)")


def test_nobody_is_left_out(sample):
  alpha = np.zeros(SIZE, np.uint8)
  made.write_pixels(sample[0] / "alpha_0000000.png", alpha)
  refused(sample[0], "rgb_", "mask too small")


def test_archives_may_lie_in_folders_of_their_own(tmp_path):
  write_sample(tmp_path / "SynthHuman_0000", 0)
  write_sample(tmp_path / "SynthHuman_0001", 5000)
  (tmp_path / "LICENSE.md").write_text("CDLA-2.0")
  source = synthhuman.SynthHumanSource(str(tmp_path))
  assert [source.name(i) for i in range(len(source))] == [
    "SynthHuman_0000/rgb_0000000",
    "SynthHuman_0001/rgb_0005000",
  ]
  assert "LICENSE.md" in source.notes[0]
  np.testing.assert_array_equal(read(tmp_path, 1).mask, read(tmp_path, 0).mask)


def test_without_openexr_the_field_and_the_extra_are_named(sample, monkeypatch):
  monkeypatch.setitem(sys.modules, "OpenEXR", None)
  spec = f"synthhuman:{sample[0]}"
  with pytest.raises(ValueError, match=r"data.path=.*sapiens2-jax\[exr\]"):
    open_field("data.path", spec)


def test_a_directory_of_something_else_is_refused(tmp_path):
  made.write_image(tmp_path / "a.png", SIZE)
  with pytest.raises(ValueError, match=r"holds no rgb_\*.png"):
    annotated.open_annotated(f"synthhuman:{tmp_path}")
  with pytest.raises(ValueError, match="no such directory"):
    annotated.open_annotated(f"synthhuman:{tmp_path}/b")
