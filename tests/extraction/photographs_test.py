import numpy as np
import pytest
from PIL import Image

import sapiens2_jax
from sapiens2_jax.extraction import photographs
from sapiens2_jax.models import pixels

WHITE = (255, 255, 255)


def white(height, width):
  return np.full((height, width, 3), 255, np.uint8)


@pytest.mark.parametrize(
  "own, tokens",
  [
    ((60, 80), (slice(1, 3), slice(0, 3))),  # 2.25 rows fit
    ((90, 50), (slice(0, 4), slice(0, 2))),  # 2.2 columns
    ((128, 96), (slice(0, 4), slice(0, 3))),
    ((1, 900), (slice(1, 2), slice(0, 3))),  # One row at least.
  ],
)
def test_letterboxed_tokens_show_all_of_the_photograph_and_no_black(
  own, tokens
):
  found = photographs.letterbox(white(*own), (64, 48), 16)
  assert found.tokens == tokens and found.original_size == own
  assert found.image.shape == (64, 48, 3)
  cells = found.image.reshape(4, 16, 3, 16, 3).transpose(0, 2, 1, 3, 4)
  assert (cells[tokens] == 255).all()
  assert found.image.sum() == cells[tokens].sum(dtype=np.uint64)


def test_a_resized_photograph_fills_all_tokens():
  found = photographs.stretch(white(30, 80), (64, 32), 16)
  assert found.tokens == (slice(0, 4), slice(0, 2))
  assert (found.image == 255).all() and found.image.shape == (64, 32, 3)


@pytest.mark.parametrize("fit", photographs.FITS)
def test_an_image_is_loaded_upright_and_normalised(
  tmp_path, encode, smooth_photo, fit
):
  upright = smooth_photo(96, 64)
  exif = Image.Exif()
  exif[0x0112] = 6  # Stored turned counter-clockwise.
  stored = upright.transpose(Image.Transpose.ROTATE_90)
  path = tmp_path / "photo.png"
  path.write_bytes(encode(stored, "PNG", exif=exif))
  found = sapiens2_jax.load_image(path, (48, 32), fit=fit)
  small = upright.resize((32, 48), Image.Resampling.BILINEAR)
  expected = np.asarray(small, np.float32) / 255
  expected = (expected - pixels.IMAGENET_MEAN) / pixels.IMAGENET_STD
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mistakes_are_named(tmp_path):
  (tmp_path / "bad.jpg").write_bytes(b"no image")
  load = sapiens2_jax.load_image
  with pytest.raises(ValueError, match=r"bad\.jpg: not an image"):
    load(tmp_path / "bad.jpg")
  with pytest.raises(ValueError, match=r"none\.jpg: cannot be read \(No such"):
    load(tmp_path / "none.jpg")
  with pytest.raises(ValueError, match="16 pixels.*nearest is 992 x 752"):
    load(tmp_path / "bad.jpg", (1000, 750))
  with pytest.raises(ValueError, match=r"size=\(64,\): expected height and"):
    load(tmp_path / "bad.jpg", (64,))
  with pytest.raises(ValueError, match="unknown fit 'letterbx'; did you mean"):
    load(tmp_path / "bad.jpg", fit="letterbx")


def test_what_threads_read_comes_in_order():
  read = photographs.read_ahead(lambda x: x * x, range(100))
  assert list(read) == [x * x for x in range(100)]


def test_no_more_is_read_than_is_wanted_soon():
  started = []
  read = photographs.read_ahead(started.append, range(10_000))
  next(read)
  read.close()
  assert len(started) < 100
