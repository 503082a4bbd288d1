"""Pictures of labels: what a level means, and which files are refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_pipelines.annotated import pictures
from data_pipelines.common import images
from tests.data_pipelines.annotated import made

SIZE = (9, 7)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0]  # Its colours of 0, 1 and 2.


def soft():
  """Levels 0 to 255, all of the first two rows 0."""
  found = np.arange(63, dtype=np.uint8).reshape(SIZE) * 4
  found[:2] = 0
  return found


def save(path, array, mode=None, palette=None, **options):
  picture = Image.fromarray(array)
  if palette is not None:
    picture = Image.fromarray(array, "P") if mode is None else picture
    picture.putpalette(palette)
  picture.save(path, **options)
  return str(path)


def mask_of(path):
  return pictures.read_mask(str(path))


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif", "webp"])
def test_grey_levels_are_taken_as_they_are(tmp_path, ending):
  options = {"lossless": True} if ending == "webp" else {}
  path = save(tmp_path / f"a.{ending}", soft(), **options)
  levels, colors = pictures.read_matte(path)
  np.testing.assert_array_equal(levels, soft())
  assert colors is None
  np.testing.assert_array_equal(mask_of(path), soft() >= 128)


def test_half_of_16_bits_is_the_threshold(tmp_path):
  levels = np.full(SIZE, 32767, np.uint16)
  levels[3:] = 32768
  path = save(tmp_path / "a.png", levels)
  np.testing.assert_array_equal(mask_of(path), levels >= 32768)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_0_and_1_are_nothing_and_all(tmp_path, dtype):
  path = save(tmp_path / "a.png", (soft() > 9).astype(dtype))
  np.testing.assert_array_equal(pictures.read_matte(path)[0] == 255, soft() > 9)


def test_one_bit_is_nothing_or_all(tmp_path):
  path = save(tmp_path / "a.png", soft() > 9)
  np.testing.assert_array_equal(mask_of(path), soft() > 9)


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_a_palette_of_colours_says_it_by_its_numbers(tmp_path, ending):
  indices = np.where(soft() > 99, 2, 0).astype(np.uint8)
  path = save(tmp_path / f"a.{ending}", indices, palette=VOC)
  levels, _ = pictures.read_matte(path)
  np.testing.assert_array_equal(levels, np.where(soft() > 99, 255, 0))


@pytest.mark.parametrize(
  "grey", [[255, 0], list(range(255, -1, -1)), list(range(256))]
)
def test_a_palette_of_greys_says_it_by_its_levels(tmp_path, grey):
  indices = soft() if len(grey) > 2 else (soft() > 99).astype(np.uint8)
  path = save(tmp_path / "a.png", indices, palette=np.repeat(grey, 3).tolist())
  wanted = np.array(grey, np.uint8)[indices]
  np.testing.assert_array_equal(pictures.read_matte(path)[0], wanted)


def test_numbers_in_a_palette_that_nobody_coloured_are_numbers(tmp_path):
  ramp = np.repeat(range(256), 3).tolist()
  indices = (soft() > 99).astype(np.uint8)
  path = save(tmp_path / "a.png", indices, palette=ramp)
  np.testing.assert_array_equal(mask_of(path), soft() > 99)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_says_it_by_alpha(tmp_path, channels):
  array = np.full((*SIZE, channels), 7, np.uint8)
  array[..., -1] = soft()
  path = save(tmp_path / "a.png", array)
  levels, colors = pictures.read_matte(path)
  np.testing.assert_array_equal(levels, soft())
  assert (colors == 7).all()


def test_a_transparent_entry_of_a_palette_is_nothing(tmp_path):
  indices = np.where(soft() > 99, 2, 1).astype(np.uint8)
  path = save(tmp_path / "a.png", indices, palette=VOC, transparency=1)
  np.testing.assert_array_equal(mask_of(path), soft() > 99)


def test_an_opaque_rgba_picture_is_as_one_without_alpha(tmp_path):
  array = np.full((*SIZE, 4), 255, np.uint8)
  array[..., :3] = soft()[..., None]
  levels, colors = pictures.read_matte(save(tmp_path / "a.png", array))
  np.testing.assert_array_equal(levels, soft())
  assert colors is None


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("a.jpg", {}),
    ("a.png", {"format": "JPEG"}),  # By what it holds, not by its name.
    ("a.webp", {}),
    ("a.avif", {}),
    ("a.tif", {"compression": "jpeg"}),
  ],
)
@pytest.mark.parametrize("read", [mask_of, pictures.read_indices])
def test_formats_that_lose_labels_are_refused(tmp_path, name, options, read):
  path = save(tmp_path / name, soft(), **options)
  with pytest.raises(images.ImageDecodeError, match="loses labels; write it"):
    read(path)


@pytest.mark.parametrize(
  ("array", "message"),
  [
    (np.full(SIZE, 100, np.uint8), "the highest is 100 of 255; write people"),
    (np.eye(9, 3, dtype=np.uint8)[None], "has colours, expected grey or RGBA"),
    (np.ones(SIZE, np.float32), "no picture of|float32 pixels, expected 8 or"),
  ],
)
def test_other_masks_are_named(tmp_path, array, message):
  path = save(tmp_path / "a.tif", array)
  with pytest.raises(images.ImageDecodeError, match=message):
    mask_of(path)


def test_numbers_of_few_bits_are_refused_as_they_may_be_levels(tmp_path):
  def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum

  head = struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)
  chunks = (b"IHDR", head), (b"IDAT", zlib.compress(b"\0\x12")), (b"IEND", b"")
  path = tmp_path / "a.png"
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
  with pytest.raises(images.ImageDecodeError, match="4 bits, expected 8 or 16"):
    pictures.read_indices(str(path))


def test_damaged_pixels_are_named(tmp_path):
  path = tmp_path / "a.png"
  made.write_pixels(path, np.random.default_rng(0).integers(0, 255, SIZE))
  path.write_bytes(path.read_bytes()[:-60])
  for read in (mask_of, pictures.read_indices):
    with pytest.raises(images.ImageDecodeError, match="a.png: "):
      read(str(path))
