"""Photographs that EXIF turns: labels come along, or the image stays out."""

import io

import numpy as np
import pytest
from PIL import Image

from data_pipelines.annotated import coco, folders, keypoints344, matting
from data_pipelines.annotated.turning import turn_labels
from data_pipelines.common import images
from data_pipelines.corpus.labels import Labels, Person
from tests.data_pipelines.annotated import made

SIZE = (24, 18)  # Of the pixels as stored.
K = np.array([[50, 0.5, 8.5], [0, 52, 12], [0, 0, 1]], np.float32)


def pixels(size=SIZE):
  return np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)


def write_turned(path, orientation, size=SIZE, array=None):
  """A PNG of `pixels` with an EXIF orientation."""
  path.parent.mkdir(parents=True, exist_ok=True)
  exif = Image.Exif()
  exif[0x112] = orientation
  array = pixels(size) if array is None else array
  Image.fromarray(array).save(path, exif=exif.tobytes())


def made_labels():
  rng = np.random.default_rng(0)
  points = np.zeros((308, 3), np.float32)
  points[:40] = [[i % 18, i % 23, 2] for i in range(40)]
  normal = rng.normal(size=(*SIZE, 3)).astype(np.float32)
  box = (2.0, 3.0, 11.0, 5.0)
  return Labels(
    people=(Person(box, points, 40.0),),
    alpha=np.full(SIZE, 255, np.uint8),
    albedo=pixels(),
    normal=normal,
    depth=rng.uniform(1, 3, SIZE).astype(np.float32),
    intrinsics=K,
    extra={"red": pixels()[..., 0], "age": np.int32(3)[None]},
  )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_the_size_as_stored_and_the_turn(orientation, kind):
  data = io.BytesIO()
  exif = Image.Exif()
  exif[0x112] = orientation
  Image.fromarray(pixels()).save(data, kind, exif=exif)
  assert images.read_header(data.getvalue()) == (SIZE, orientation)
  shown = images.decode_image(data.getvalue()).shape[:2]
  assert shown == (SIZE if orientation < 5 else SIZE[::-1])
  assert images.image_size(data.getvalue()) == shown


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_labels_stay_on_what_they_label(orientation, kind):
  data = io.BytesIO()
  exif = Image.Exif()
  exif[0x112] = orientation
  Image.fromarray(pixels()).save(data, kind, exif=exif)
  shown = images.decode_image(data.getvalue())
  before = made_labels()
  after = turn_labels(before, orientation, SIZE)
  np.testing.assert_array_equal(after.albedo, shown)
  np.testing.assert_array_equal(after.extra["red"], shown[..., 0])
  assert after.extra["age"].tolist() == [3]
  (person,), (turned,) = before.people, after.people
  for (x, y, v), (u, w, _) in zip(person.keypoints, turned.keypoints):
    if v:
      wanted = pixels()[int(y), int(x)]
      np.testing.assert_array_equal(shown[int(w), int(u)], wanted)
  assert not turned.keypoints[40:].any() and turned.area == 40.0
  top, left, height, width = map(int, turned.box)
  corner = {1: (2, 3), 3: (23 - 13, 17 - 8), 6: (3, 23 - 13), 8: (17 - 8, 2)}
  assert (top, left) == corner[orientation]
  assert {height, width} == {11, 5}


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_camera_turns_with_normals_and_depth(orientation):
  before = made_labels()
  after = turn_labels(before, orientation, SIZE)

  def facts(labels):
    """Of each point: depth, distance, and how the surface faces it."""
    points = labels.pointmap()
    normal = labels.normal * [1, -1, -1]
    facing = (points * normal).sum(-1)
    found = np.stack([labels.depth, np.square(points).sum(-1), facing], -1)
    return found.reshape(-1, 3)[np.argsort(labels.depth, axis=None)]

  np.testing.assert_allclose(facts(after), facts(before), rtol=1e-4, atol=1e-5)
  assert after.depth.shape == (SIZE if orientation == 3 else SIZE[::-1])


def coco_file(directory, orientation, says=SIZE, stored=SIZE, **options):
  write_turned(directory / "a.png", orientation, stored)
  points = np.zeros((17, 3))
  points[:] = [5, 20, 2]
  points[0, :2] = 7, 3
  found = {
    "images": [
      {"id": 1, "file_name": "a.png", "height": says[0], "width": says[1]}
    ],
    "annotations": [
      {
        **{"image_id": 1, "bbox": [2, 2, 9, 11]},
        "keypoints": points.ravel().tolist(),
      }
    ],
  }
  path = made.write_json(directory / "ann.json", found)
  return coco.CocoSource(path, images=str(directory), **options)


@pytest.mark.parametrize(
  ("orientation", "nose"),
  [(1, [7, 3]), (3, [10, 20]), (6, [20, 7]), (8, [3, 10])],
)
def test_stored_labels_are_turned_if_it_is_said(tmp_path, orientation, nose):
  source = coco_file(tmp_path, orientation, exif="stored")
  (person,) = made.labels_of(source).people
  assert person.keypoints[0].tolist() == [*nose, 2]
  assert source[0].person_boxes == (person.box,)


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 8])
def test_without_a_word_nothing_is_packed_upside_down(tmp_path, orientation):
  with pytest.raises(
    images.ImageDecodeError, match="say exif=stored"
  ) as caught:
    coco_file(tmp_path, orientation)[0]
  assert caught.value.reason == "turned by EXIF"
  assert f"orientation {orientation}" in caught.value.detail
  assert ("by their size" in caught.value.detail) == (orientation > 4)
  assert ("or exif=upright" in caught.value.detail) == (orientation <= 4)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_square_photograph_does_not_tell(tmp_path, orientation):
  square = (18, 18)
  with pytest.raises(images.ImageDecodeError, match="nothing tells whether"):
    coco_file(tmp_path, orientation, square, square)[0]
  source = coco_file(tmp_path, orientation, square, square, exif="upright")
  assert made.labels_of(source).people[0].keypoints[0].tolist() == [7, 3, 2]


def test_upright_labels_are_known_by_their_size(tmp_path):
  source = coco_file(tmp_path, 6, SIZE[::-1])
  assert made.labels_of(source).people[0].keypoints[0].tolist() == [7, 3, 2]
  with pytest.raises(images.ImageDecodeError, match=r"the stored image \(24,"):
    coco_file(tmp_path, 6, SIZE[::-1], exif="stored")[0]


def test_a_mirrored_photograph_has_no_left_and_right(tmp_path):
  with pytest.raises(images.ImageDecodeError, match="mirrored by EXIF"):
    coco_file(tmp_path, 5, exif="stored")[0]


def test_maps_in_folders_are_turned_or_left_out(tmp_path):
  write_turned(tmp_path / "rgb/a.png", 6)
  mask = np.zeros(SIZE, np.uint8)
  mask[:5, 3:] = 255
  made.write_pixels(tmp_path / "mask/a.png", mask)
  with pytest.raises(images.ImageDecodeError, match="stored, by their size"):
    folders.FoldersSource(str(tmp_path))[0]
  source = folders.FoldersSource(str(tmp_path), exif="stored")
  found = made.labels_of(source).alpha
  np.testing.assert_array_equal(found, np.rot90(mask, -1))
  write_turned(tmp_path / "mask/a.png", 6, array=mask)
  with pytest.raises(images.ImageDecodeError, match="mask/a.png: is turned by"):
    source[0]


def test_points_without_a_size_need_the_word(tmp_path):
  write_turned(tmp_path / "images/b.png", 3)
  array = np.full((3, 344), 9, np.float32)
  made.write_array(tmp_path / "points/b.npy", array)
  path = made.write_json(tmp_path / "list.json", [{"sample_id": "b"}])
  given = {
    "images": str(tmp_path / "images"),
    "keypoints": str(tmp_path / "points"),
  }
  with pytest.raises(images.ImageDecodeError, match="nothing tells whether"):
    keypoints344.KeypointFilesSource(path, **given)[0]
  source = keypoints344.KeypointFilesSource(path, **given, exif="stored")
  assert made.labels_of(source).people[0].keypoints[0].tolist() == [8, 14, 2]


def test_an_rgba_image_is_turned_with_its_own_alpha(tmp_path):
  rgba = np.full((*SIZE, 4), 200, np.uint8)
  rgba[:7, :, 3] = 0
  write_turned(tmp_path / "a.png", 8, array=rgba)
  (tmp_path / "list.txt").write_text("a.png")
  source = matting.MattingSource(str(tmp_path / "list.txt"))
  found = made.labels_of(source)
  np.testing.assert_array_equal(found.alpha, np.rot90(rgba[..., 3]))
  decoded = images.decode_image(source[0].image)
  assert (decoded[found.alpha == 0] == 255).all()
