"""Folders of maps, joined by stem; unusable pixels leave the mask."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines import sources
from data_pipelines.annotated import folders
from data_pipelines.common import images, kinds
from tests.data_pipelines.annotated import made

SIZE = (24, 18)
K = np.array([[50, 0, 8.5], [0, 52, 12], [0, 0, 1]])


def unit_vectors(seed=0):
  rng = np.random.default_rng(seed)
  found = rng.normal(size=(*SIZE, 3)).astype(np.float32)
  return found / np.linalg.norm(found, axis=-1, keepdims=True)


def write_depth(directory, depth, stem="a"):
  made.write_array(directory / f"depth/{stem}.npy", depth)
  (directory / "camera_intrinsics").mkdir(exist_ok=True)
  np.savetxt(directory / f"camera_intrinsics/{stem}.txt", K)


@pytest.fixture
def directory(tmp_path):
  """rgb/a.png, and a mask of all but the first two rows."""
  made.write_image(tmp_path / "rgb/a.png", SIZE)
  mask = np.zeros((*SIZE, 3), np.uint8)
  mask[2:] = 1
  made.write_pixels(tmp_path / "mask/a.png", mask)
  return tmp_path


def inside():
  found = np.ones(SIZE, bool)
  found[:2] = False
  return found


def angles(a, b):
  return np.rad2deg(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


@pytest.mark.parametrize("extension", ["npy", "npz"])
def test_normals_are_unit_vectors_inside_the_mask(directory, extension):
  normal = unit_vectors()
  (directory / "normal").mkdir()
  if extension == "npy":
    made.write_array(directory / "normal/a.npy", 1.05 * normal)
  else:
    np.savez(
      directory / "normal/a.npz", normal=(1.05 * normal).astype(np.float16)
    )
  source = folders.FoldersSource(str(directory))
  labels = made.labels_of(source)
  np.testing.assert_array_equal(labels.mask, inside())
  np.testing.assert_array_equal(labels.alpha, inside() * np.uint8(255))
  assert angles(labels.normal, normal)[inside()].max() < 0.1
  assert not labels.normal[~inside()].any()
  assert source.name(0) == "a" and source.location(0).endswith("rgb/a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_pixels_without_a_normal_leave_the_mask(directory, value):
  normal = unit_vectors()
  normal[5, 7] = value
  made.write_array(directory / "normal/a.npy", normal)
  labels = made.labels_of(folders.FoldersSource(str(directory)))
  wanted = inside()
  wanted[5, 7] = False
  np.testing.assert_array_equal(labels.mask, wanted)
  assert np.isfinite(labels.normal).all()


@pytest.mark.parametrize(
  ("axes", "wanted"),
  [
    (("x", "y", "z"), lambda x, y, z: (x, y, z)),
    (("x", "-y", "-z"), lambda x, y, z: (x, -y, -z)),
    (("-z", "+x", "y"), lambda x, y, z: (-z, x, y)),
  ],
)
def test_axes_say_what_of_the_file_ours_are(directory, axes, wanted):
  normal = unit_vectors()
  made.write_array(directory / "normal/a.npy", normal)
  source = folders.FoldersSource(str(directory), axes=axes)
  expected = np.stack(wanted(*np.moveaxis(normal, -1, 0)), -1)
  found = made.labels_of(source).normal
  assert angles(found, expected)[inside()].max() < 0.05


@pytest.mark.parametrize(
  "axes", [("x", "y"), ("x", "x", "z"), ("x", "--y", "z")]
)
def test_other_axes_are_refused(directory, axes):
  with pytest.raises(ValueError, match="are not the axes x, y and z"):
    folders.FoldersSource(str(directory), axes=axes)


def test_depth_comes_with_its_camera(directory):
  depth = np.random.default_rng(0).uniform(1, 4, SIZE)
  depth[9, 3], depth[10, 3] = np.nan, -1
  write_depth(directory, depth)
  labels = made.labels_of(folders.FoldersSource(str(directory)))
  wanted = inside()
  wanted[9:11, 3] = False
  np.testing.assert_array_equal(labels.mask, wanted)
  np.testing.assert_allclose(
    labels.depth[wanted], depth[wanted], atol=4 / 65535
  )
  np.testing.assert_allclose(labels.intrinsics, K)
  assert labels.normal is None and labels.albedo is None


def test_albedo_is_rgb_as_in_its_file(directory):
  albedo = made.write_image(directory / "albedo/a.png", SIZE, 5)
  labels = made.labels_of(folders.FoldersSource(str(directory)))
  np.testing.assert_array_equal(labels.albedo[inside()], albedo[inside()])
  assert not labels.albedo[~inside()].any()


def test_all_maps_share_one_mask_and_some_can_be_chosen(directory):
  normal, depth = unit_vectors(), np.ones(SIZE, np.float32)
  normal[5, 5], depth[6, 6] = np.nan, np.nan
  made.write_array(directory / "normal/a.npy", normal)
  write_depth(directory, depth)
  mask = made.labels_of(folders.FoldersSource(str(directory))).mask
  assert not mask[5, 5] and not mask[6, 6]
  chosen = folders.FoldersSource(str(directory), maps=["depth"])
  labels = made.labels_of(chosen)
  assert labels.mask[5, 5] and not labels.mask[6, 6]
  assert labels.normal is None


def test_face_hair_and_mouth_leave_the_mask(directory):
  parts = np.full((8, 6), 22, np.int64)  # A third of the mask's size.
  labels = (1, 2, 3, 4, 22, 23, 27, 28)
  parts[:, 2] = labels
  made.write_array(directory / "seg/a_seg.npy", parts)
  source = folders.FoldersSource(
    str(directory), face_parts=str(directory / "seg")
  )
  wanted = inside()
  for row, label in enumerate(labels):
    if label in (2, 3, 23, 27):
      wanted[3 * row : 3 * row + 3, 6:9] = False
  np.testing.assert_array_equal(made.labels_of(source).mask, wanted)


@pytest.mark.parametrize(
  ("name", "array", "message"),
  [
    ("normal", np.ones(SIZE), r"a.npy: \(24, 18\), expected \(h, w, 3\)"),
    ("normal", np.ones((9, 4, 3)), r"\(9, 4\), its mask is \(24, 18\)"),
    ("normal", np.ones((*SIZE, 3), int), "int64, expected floating"),
    ("depth", np.ones((*SIZE, 1)), r"\(24, 18, 1\), expected \(h, w\)"),
    ("normal", np.full((*SIZE, 3), np.nan), r"mask too small \(.*a.png"),
    ("depth", np.array([{"a": 1}]), "no array of numbers.*allow_pickle=False"),
  ],
)
def test_maps_of_no_use_are_named(directory, name, array, message):
  write_depth(directory, np.ones(SIZE))
  made.write_array(directory / f"{name}/a.npy", array)
  source = folders.FoldersSource(str(directory), maps=[name])
  with pytest.raises(images.ImageDecodeError, match=message):
    source[0]


def test_an_archive_without_the_array_says_what_it_has(directory):
  (directory / "normal").mkdir()
  np.savez(directory / "normal/a.npz", other=unit_vectors())
  source = folders.FoldersSource(str(directory))
  with pytest.raises(images.ImageDecodeError, match=r"'normal'; .*\['other'\]"):
    source[0]


def test_bytes_that_are_no_array_are_named(directory):
  made.write_array(directory / "normal/a.npy", unit_vectors())
  source = folders.FoldersSource(str(directory))
  for content in (b"", b"nothing", b"PK\x03\x04 broken"):
    (directory / "normal/a.npy").write_bytes(content)
    with pytest.raises(images.ImageDecodeError, match="a.npy: no array of num"):
      source[0]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("1 2\n3 4", r"\(2, 2\) numbers, expected \(3, 3\), all finite"),
    ("1 0 0\n0 nan 0\n0 0 1", "all finite"),
    ("0 0 0\n0 1 0\n0 0 1", "focal lengths must be above 0"),
    ("a b c", "a.txt: no matrix"),
    ("1.2 0 0.5\n0 1.2 0.5\n0 0 1", "expected pixels, not fractions"),
  ],
)
def test_other_cameras_are_named(directory, text, message):
  write_depth(directory, np.ones(SIZE))
  (directory / "camera_intrinsics/a.txt").write_text(text)
  with pytest.raises(images.ImageDecodeError, match=message):
    folders.FoldersSource(str(directory))[0]


@pytest.mark.parametrize(
  ("normal", "reason"),
  [
    ((unit_vectors() + 1) / 2, "all are above 0, expected unit"),
    (255 * np.abs(unit_vectors()) + 1, "all are above 0, expected unit"),
    (np.abs(unit_vectors()) + 1e-6, "all are above 0, expected unit"),
    (1.2 * unit_vectors(), "median length of 1.2 and some are below 0"),
  ],
)
def test_normals_of_another_range_are_refused(directory, normal, reason):
  made.write_array(directory / "normal/a.npy", normal.astype(np.float32))
  with pytest.raises(images.ImageDecodeError, match=reason):
    folders.FoldersSource(str(directory))[0]


@pytest.mark.parametrize(("name", "top"), [("rgb8", 255), ("rgb16", 65535)])
def test_normals_are_read_from_pictures_if_it_is_said(directory, name, top):
  normal = unit_vectors()
  levels = np.rint((normal + 1) / 2 * top)
  made.write_pixels(
    directory / "normal/a.png", levels.astype(f"uint{name[3:]}")
  )
  with pytest.raises(ValueError, match="in .npy .npz; for PNG say normal="):
    folders.FoldersSource(str(directory))
  labels = made.labels_of(folders.FoldersSource(str(directory), normal=name))
  allowed = {255: 0.5, 65535: 0.04}[top]
  assert angles(labels.normal, normal)[inside()].max() < allowed
  other = {"rgb8": "rgb16", "rgb16": "rgb8"}[name]
  with pytest.raises(images.ImageDecodeError, match="bits and 3 channels, exp"):
    folders.FoldersSource(str(directory), normal=other)[0]


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "millim"), (1e-2, "fract")])
def test_depth_that_is_not_in_metres_is_refused(directory, factor, unit):
  depth = np.random.default_rng(0).uniform(1, 4, SIZE)
  write_depth(directory, depth * factor)
  with pytest.raises(images.ImageDecodeError, match=f"these may be {unit}"):
    folders.FoldersSource(str(directory))[0]


@pytest.mark.parametrize("ending", ["png", "npy"])
def test_depth_is_scaled_if_it_is_said(directory, ending):
  depth = np.random.default_rng(0).uniform(1, 4, SIZE)
  levels = (depth * 1000).astype(np.uint16)
  levels[9, 3] = 0
  write_depth(directory, levels)
  with pytest.raises(images.ImageDecodeError, match="uint16, expected float"):
    folders.FoldersSource(str(directory))[0]
  if ending == "png":
    (directory / "depth/a.npy").unlink()
    made.write_pixels(directory / "depth/a.png", levels)
    with pytest.raises(ValueError, match="for PNG say depth_scale=METRES"):
      folders.FoldersSource(str(directory))
  source = folders.FoldersSource(str(directory), depth_scale=0.001)
  labels = made.labels_of(source)
  assert not labels.mask[9, 3]
  mask = labels.mask
  np.testing.assert_allclose(labels.depth[mask], depth[mask], atol=0.0011)


def test_an_albedo_that_exif_turns_is_refused(directory):
  (directory / "albedo").mkdir()
  exif = Image.Exif()
  exif[0x112] = 3
  pixels = Image.fromarray(np.zeros((*SIZE, 3), np.uint8))
  pixels.save(directory / "albedo/a.png", exif=exif.tobytes())
  with pytest.raises(images.ImageDecodeError, match="albedo/a.png: is turned"):
    folders.FoldersSource(str(directory))[0]


def test_a_missing_file_leaves_its_image_out(directory):
  made.write_array(directory / "normal/b.npy", unit_vectors())
  made.write_image(directory / "rgb/b.png", SIZE)
  source = folders.FoldersSource(str(directory))
  assert len(source) == 2
  for index, message in enumerate((r"normal/a.\*", r"mask/b.\*")):
    with pytest.raises(images.ImageDecodeError, match=message) as caught:
      source[index]
    assert caught.value.reason == "missing labels"


@pytest.mark.parametrize("folder", ["rgb", "mask", "camera_intrinsics"])
def test_a_directory_that_is_not_there_is_named(directory, folder):
  write_depth(directory, np.ones(SIZE))
  (directory / folder).rename(directory / "away")
  with pytest.raises(ValueError, match=f"{folder}: no such directory"):
    folders.FoldersSource(str(directory))


def test_files_of_other_endings_are_counted(directory, monkeypatch):
  made.write_array(directory / "normal/a.npy", unit_vectors())
  monkeypatch.setattr(kinds, "IMAGE_ENDINGS", (".png",))
  for name in ("rgb/b.heic", "rgb/c.heic", "normal/a.exr", "mask/README"):
    (directory / name).write_bytes(b"")
  assert folders.FoldersSource(str(directory)).notes == (
    f"{directory}/rgb: left out 2 .heic (b.heic)",
    f"{directory}/mask: left out 1 without an ending (README)",
    f"{directory}/normal: left out 1 .exr (a.exr)",
  )


def test_masks_of_other_images_are_refused(directory):
  (directory / "mask/a.png").rename(directory / "mask/b.png")
  with pytest.raises(ValueError, match="no stem of rgb/ is one of mask/"):
    folders.FoldersSource(str(directory))


def test_an_unknown_map_is_refused(directory):
  with pytest.raises(ValueError, match="shape is none of normal, depth, albe"):
    folders.FoldersSource(str(directory), maps=["shape"])


def test_a_disk_that_fails_is_no_bad_image(directory, monkeypatch):
  made.write_array(directory / "normal/a.npy", unit_vectors())
  source = folders.FoldersSource(str(directory))

  def fail(path, *_):
    raise OSError(5, "Input/output error")

  monkeypatch.setattr("data_pipelines.common.storage.read_bytes", fail)
  with pytest.raises(sources.ShardReadError, match="a.png: .*Input/output"):
    source[0]
