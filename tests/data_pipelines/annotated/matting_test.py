"""Matting lists: alpha, and the foreground's colours where they are known."""

import json

import numpy as np
import pytest

from data_pipelines.annotated import matting
from data_pipelines.common import images
from tests.data_pipelines.annotated import made

SIZE = (11, 17)


def rgba(dtype=np.uint8, seed=3):
  top = np.iinfo(dtype).max
  rng = np.random.default_rng(seed)
  found = rng.integers(0, top, (*SIZE, 4), dtype, endpoint=True)
  found[:4, :, 3], found[4:6, :, 3] = 0, top
  return found


def open_json(directory, mask, **options):
  made.write_image(directory / "images/a.jpg", SIZE)
  if mask is not None:
    made.write_pixels(directory / "masks/a.png", mask)
  entries = [{"image": "images/a.jpg", "mask": "masks/a.png"}]
  path = made.write_json(directory / "list.json", entries)
  return matting.MattingSource(path, **options)


def test_a_grey_mask_is_alpha(tmp_path):
  mask = rgba()[..., 0]
  source = open_json(tmp_path, mask)
  labels = made.labels_of(source)
  np.testing.assert_array_equal(labels.alpha, mask)
  assert labels.foreground is None
  assert source.name(0) == "images/a.jpg"


def test_three_equal_channels_are_one(tmp_path):
  mask = rgba()[..., 0]
  labels = made.labels_of(open_json(tmp_path, np.stack([mask] * 3, -1)))
  np.testing.assert_array_equal(labels.alpha, mask)


def test_an_rgba_mask_is_alpha_and_foreground(tmp_path):
  mask = rgba()
  labels = made.labels_of(open_json(tmp_path, mask))
  np.testing.assert_array_equal(labels.alpha, mask[..., 3])
  seen = mask[..., 3] > 0
  np.testing.assert_array_equal(labels.foreground[seen], mask[seen, :3])
  assert not labels.foreground[~seen].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgba_images_are_their_own_masks(tmp_path, dtype):
  pixels = rgba(dtype)
  made.write_pixels(tmp_path / "sub/a.png", pixels)
  (tmp_path / "list.txt").write_text("\n sub/a.png \n\n")
  source = matting.MattingSource(str(tmp_path / "list.txt"))
  assert len(source) == 1
  labels = made.labels_of(source)
  exact = pixels * (255 / np.iinfo(dtype).max)
  np.testing.assert_array_equal(labels.alpha, np.rint(exact[..., 3]))
  seen = labels.alpha > 0
  np.testing.assert_array_equal(
    labels.foreground[seen], np.rint(exact[seen, :3])
  )
  # What a loader sees is the same person, over white.
  fraction = exact[..., 3:] / 255
  white = fraction * exact[..., :3] + (1 - fraction) * 255
  decoded = images.decode_image(source[0].image)
  assert np.abs(decoded - white).max() <= 2


def test_paths_may_be_absolute_or_relative_to_a_root(tmp_path):
  made.write_pixels(tmp_path / "far/a.png", rgba())
  (tmp_path / "list.txt").write_text(f"a.png\n{tmp_path}/far/a.png\n")
  source = matting.MattingSource(
    str(tmp_path / "list.txt"), root=str(tmp_path / "far")
  )
  assert source.location(0) == source.location(1) == f"{tmp_path}/far/a.png"
  assert source[0].labels == source[1].labels


@pytest.mark.parametrize(
  ("mask", "message"),
  [
    (rgba()[..., :3], "a.png: has colours, expected grey or RGBA"),
    (rgba()[:9], r"alpha is \(9, 17\), the upright image \(11, 17\)"),
    (None, "a.png: No such file"),
  ],
)
def test_masks_of_no_use_are_named(tmp_path, mask, message):
  with pytest.raises(images.ImageDecodeError, match=message):
    open_json(tmp_path, mask)[0]


def test_a_mask_that_is_no_picture_is_named(tmp_path):
  source = open_json(tmp_path, rgba())
  for content in (b"", b"nothing"):
    (tmp_path / "masks/a.png").write_bytes(content)
    with pytest.raises(images.ImageDecodeError, match="a.png: no picture"):
      source[0]


def test_an_image_without_alpha_in_a_text_list_is_named(tmp_path):
  made.write_image(tmp_path / "a.png", SIZE)
  (tmp_path / "list.txt").write_text("a.png")
  source = matting.MattingSource(str(tmp_path / "list.txt"))
  with pytest.raises(
    images.ImageDecodeError, match="has colours, expected grey or RGBA"
  ):
    source[0]


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("list.txt", "\n\n", "list.txt: names no image"),
    ("list.json", "[]", "list.json: names no image"),
    (
      "list.json",
      json.dumps([3, {"image": "a"}, {"image": "a", "mask": ""}]),
      r"3 problems\n  \[0\]: expected .*\n  \[1\]: .*\n  \[2\]",
    ),
    ("list.txt", "\udcff", "list.txt: cannot be read"),
  ],
)
def test_other_lists_are_refused(tmp_path, name, text, message):
  (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
  with pytest.raises(ValueError, match=message):
    matting.MattingSource(str(tmp_path / name))
