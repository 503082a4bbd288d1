import io

import numpy as np
import pytest
from PIL import Image

from sapiens2_jax.report import photographs, pictures


def test_small_pictures_are_enlarged_without_smoothing():
  pixels = np.random.default_rng(0).random((8, 6, 3))
  image = pictures.to_image(pixels, 33)
  assert image.size == (24, 32)
  expected = np.round(pixels * 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
  np.testing.assert_array_equal(np.asarray(image), expected)


def test_large_pictures_keep_their_proportions():
  image = pictures.to_image(np.zeros((300, 200, 3), np.uint8), 150)
  assert image.size == (100, 150)


def test_grid_holds_each_tile_and_is_transparent_between():
  red = Image.new("RGB", (20, 30), "red")
  tiles = [pictures.Tile(red, "a very long label"), pictures.Tile(red)]
  drawn = pictures.grid([tiles, [pictures.Tile(red, None, (0, 255, 0))]])
  assert drawn.width == 2 * 20 + pictures.GAP
  assert drawn.getpixel((drawn.width - 1, 40)) == (255, 0, 0, 255)
  assert drawn.getpixel((25, 40))[3] == 0
  assert drawn.getpixel((0, drawn.height - 1)) == (0, 255, 0, 255)
  alone = Image.open(io.BytesIO(pictures.to_png(pictures.on_white(drawn))))
  assert alone.mode == "RGB" and alone.getpixel((0, 0)) == (255, 255, 255)


def test_long_labels_are_cut():
  assert pictures.shorten("abc", 500, 12) == "abc"
  assert pictures.shorten("a" * 200, 100, 12).endswith("a…")


def test_a_name_of_two_lines_is_drawn_in_one():
  assert pictures.shorten("a\nb\r.jpg", 500, 12) == "a b .jpg"
  tile = pictures.Tile(Image.new("RGB", (90, 10)), "a\nb")
  assert pictures.grid([[tile]]).width == 90


def test_groups_are_packed_into_rows():
  tile = pictures.Tile(Image.new("RGB", (40, 10)))
  rows = pictures.pack([[tile, tile]] * 3, 210)
  assert [len(row) for row in rows] == [4, 2]


def test_a_sheet_in_a_file_has_all_its_groups():
  tile = pictures.Tile(Image.new("RGB", (40, 10)))
  wide = pictures.Sheet([[tile, tile]] * 3, width=210).draw()
  high = pictures.Sheet([[tile, tile]] * 3, width=1).draw()
  assert (wide.width, wide.height) == (4 * 40 + 6 * pictures.GAP, 30)
  assert (high.width, high.height) == (2 * 40 + pictures.GAP, 50)


@pytest.mark.parametrize(
  "count, expected", [(3, [0, 3, 6]), (99, list(range(10)))]
)
def test_records_are_chosen_over_the_whole_source(count, expected):
  assert photographs.choose(10, count) == expected
