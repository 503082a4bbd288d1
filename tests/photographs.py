"""Images with known colours, made by PIL for each test."""

import io

import numpy as np
import pytest
from PIL import Image


def _encode(image, kind="PNG", **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def _smooth_photo(height, width, seed=0):
  """A smooth colour picture, different for each seed; survives JPEG well."""
  generator = np.random.default_rng(seed)
  coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
  return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


@pytest.fixture
def encode():
  """encode(image, kind, **options) -> bytes of an image file."""
  return _encode


@pytest.fixture
def smooth_photo():
  """smooth_photo(height, width, seed) -> PIL image, RGB."""
  return _smooth_photo


@pytest.fixture
def photo_folder(tmp_path):
  """Seven photographs of different sizes and kinds, one in a subfolder."""
  folder = tmp_path / "photos"
  (folder / "more").mkdir(parents=True)
  for number in range(6):
    photo = _smooth_photo(60 + 10 * number, 100 - 7 * number, number)
    (folder / f"{number}.JPG").write_bytes(_encode(photo, "JPEG", quality=90))
  photo = _smooth_photo(45, 33, 6)
  (folder / "more" / "last.webp").write_bytes(_encode(photo, "WEBP"))
  return folder
