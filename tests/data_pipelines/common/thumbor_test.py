"""Bad and unusual image files that ship in thumbor's source archive."""

import collections
import io
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_pipelines import sample_corpus
from data_pipelines.common import images
from data_pipelines.loading import crops, loader
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.open_source import open_source

PACKAGE = next(
  package
  for package in sample_corpus.PACKAGES
  if package.requirement.startswith("thumbor")
)
FOLDERS = ("tests/fixtures/images/", "thumbor/fixtures/filters/")
NO_IMAGES = (".py", ".mkd", ".md", ".txt")

# What cannot be used, and why; all others can.
REFUSED = {
  "16383x16383.png": "too many pixels",
  "16384x16384.png": "too many pixels",
  "1x1.psd": "not an image",
  "9643x10328.jpg": "too many pixels",
  "BlueSquare_truncated.jpg": "truncated",
  "Commons-logo-inches.svg": "not an image",
  "Commons-logo.svg": "not an image",
  "image.jp2": "not an image",
  "image_invalid.jpg": "not an image",
  "qtables.xml": "not an image",
  "watermark.svg": "not an image",
}
for name, kind in (("image.avif", "AVIF"), ("image.heic", "HEIF")):
  if kind not in images.FORMATS:
    REFUSED[name] = images.explain_format(kind)
GIUNCHEDI = "Giunchedi%2C_Filippo_January_2015_01"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Path inside the archive -> bytes; pip downloads or has it."""
  archive = sample_corpus.fetch_package(
    PACKAGE, tmp_path_factory.mktemp("thumbor")
  )
  found = {}
  with tarfile.open(archive) as opened:
    for member in opened:
      path = member.name.partition("/")[2]
      if path.startswith(FOLDERS) and not path.endswith(NO_IMAGES):
        if member.isfile():
          found[path] = opened.extractfile(member).read()
  return found


@pytest.fixture(scope="module")
def decode(files):
  """decode(name) -> pixels of the fixture image as integers."""

  def decode_one(name):
    return images.decode_image(files[FOLDERS[0] + name]).astype(int)

  return decode_one


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_file_is_right_rgb_or_refused_with_its_reason(files):
  assert len(files) > 90
  refused, num_compared = {}, 0
  for path, data in files.items():
    try:
      pixels = images.decode_image(data)
    except images.ImageDecodeError as error:
      refused[path.rpartition("/")[2]] = error.reason
      continue
    assert pixels.shape == (*images.image_size(data), 3)
    assert pixels.dtype == np.uint8
    opened = Image.open(io.BytesIO(data))
    if opened.mode == "RGB" and not opened.has_transparency_data:
      upright = ImageOps.exif_transpose(opened)
      np.testing.assert_array_equal(pixels, np.asarray(upright), path)
      num_compared += 1
  assert refused == REFUSED
  assert num_compared > 60


def test_cmyk_looks_like_its_rgb_original(decode):
  original = decode(f"{GIUNCHEDI}.jpg")
  for name in ("-cmyk.jpg", "-cmyk-orientation-exif.jpg"):
    pixels = decode(GIUNCHEDI + name)
    if "orientation" in name:
      # Tag 6 or 8 on the same pixels: turned by a quarter.
      turned = [np.rot90(pixels, turns) for turns in (1, 3)]
      pixels = min(turned, key=lambda t: np.abs(t - original).mean())
    assert np.abs(pixels - original).mean() < 6
  # An inverted or ignored black plate would be off by a hundred.
  assert decode("cmyk-icc.jpg").std() > 20


def test_the_sample_photograph_of_a_wrong_tag_stands_upright(files):
  (photograph,) = (p for p in PACKAGE.photographs if p.wrong_tag is not None)
  data = files[photograph.member.partition("/")[2]]
  upright = sample_corpus.set_upright(data, photograph.wrong_tag)
  # A man who stands; his head is at the top.
  assert images.image_size(upright) == (4052, 3456)


def test_16_bit_gradients_look_like_the_8_bit_one(decode):
  expected = decode("gradient_8bit.tif")
  for order in ("lsb", "msb"):
    found = decode(f"gradient_{order}_16bperchannel.tif")
    assert np.abs(found - expected).max() <= 1


def test_grey_images_have_their_level_in_three_channels(files, decode):
  for name in ("grayscale.jpg", "grayscale-icc.jpg", "1bit.png"):
    opened = Image.open(io.BytesIO(files[FOLDERS[0] + name]))
    level = np.asarray(opened.convert("L"))[..., None]
    np.testing.assert_array_equal(decode(name), level.repeat(3, axis=-1))


def test_of_an_animation_the_first_frame_is_taken(files, decode):
  for name in ("animated.gif", "Rotating_earth_(large).gif"):
    opened = Image.open(io.BytesIO(files[FOLDERS[0] + name]))
    assert opened.n_frames > 1
    opened.seek(0)
    rgba = opened.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    expected = np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    np.testing.assert_array_equal(decode(name), expected)


def test_the_pixel_limit_of_the_config_decides(files):
  data = files[FOLDERS[0] + "9643x10328.jpg"]
  small = images.decode_image(data, min_size=(500, 500), max_pixels=10**8)
  assert small.shape == (1291, 1206, 3)


def test_a_loader_uses_the_good_and_names_the_bad(files, tmp_path):
  for number, data in enumerate(files.values()):
    # The extension is wrong for most of them, and must not matter.
    (tmp_path / f"{number:03}.jpg").write_bytes(data)
  (tmp_path / "zero-byte.jpg").write_bytes(b"")
  source = open_source(tmp_path)
  config = loader.LoaderConfig(
    PretrainExamples(
      crops.CropConfig(global_size=(32, 24), local_size=(16, 12))
    ),
    global_batch_size=len(source),
    shuffle=False,
  )
  made = loader.make_loader(source, config, start_step=0, num_steps=1)
  batch, skipped = next(made)
  made.close()
  # A stand-in may be one of the bad ones, which is then named again.
  named = {item.name: item.reason for item in skipped}
  assert collections.Counter(named.values()) == {
    **collections.Counter(REFUSED.values()),
    "empty file": 1,
  }
  bad = [
    index
    for index, path in enumerate([*files, "zero-byte.jpg"])
    if path.rpartition("/")[2] in {*REFUSED, "zero-byte.jpg"}
  ]
  assert not np.isin(batch["index"], bad).any()
