import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from data_pipelines.common import images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _quarters(height=40, width=60):
  """Red, green, blue and white quarters: every orientation looks different."""
  pixels = np.empty((height, width, 3), np.uint8)
  half, middle = height // 2, width // 2
  pixels[:half, :middle], pixels[:half, middle:] = RED, GREEN
  pixels[half:, :middle], pixels[half:, middle:] = BLUE, WHITE
  return pixels


# What a camera stores for an upright scene, by orientation tag, written with
# plain array operations (PIL's own transposes are what is tested).
_STORED = {
  1: lambda a: a,
  2: lambda a: a[:, ::-1],
  3: lambda a: a[::-1, ::-1],
  4: lambda a: a[::-1],
  5: lambda a: a.transpose(1, 0, 2),
  6: lambda a: a.transpose(1, 0, 2)[::-1],
  7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
  8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(encode, kind, orientation):
  upright = _quarters()
  stored = Image.fromarray(np.ascontiguousarray(_STORED[orientation](upright)))
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {"subsampling": 0, "quality": 100} if kind == "JPEG" else {}
  options |= {"lossless": True} if kind == "WEBP" else {}
  data = encode(stored, kind, exif=exif, **options)
  assert images.image_size(data) == (40, 60)
  difference = images.decode_image(data).astype(int) - upright
  # JPEG rings for a few levels at the borders of the quarters.
  assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"\0" * 30, b"II*\0"])
def test_a_broken_exif_block_does_not_spoil_the_image(encode, exif):
  data = encode(Image.fromarray(_quarters()), "JPEG", exif=exif)
  assert images.decode_image(data).shape == (40, 60, 3)
  assert images.image_size(data) == (40, 60)


@pytest.mark.parametrize(
  "cmyk, expected",
  [
    ((0, 0, 0, 0), WHITE),
    ((0, 255, 255, 0), RED),
    ((255, 255, 0, 0), BLUE),
    ((0, 0, 0, 255), (0, 0, 0)),
  ],
)
@pytest.mark.parametrize("profile", [None, b"not a profile", "sRGB"])
def test_cmyk_jpeg_has_right_colours_also_with_a_useless_profile(
  encode, cmyk, expected, profile
):
  if profile == "sRGB":  # A valid profile, but of another colour space.
    srgb = ImageCms.createProfile("sRGB")
    profile = ImageCms.ImageCmsProfile(srgb).tobytes()
  options = {"icc_profile": profile} if profile else {}
  image = Image.new("CMYK", (24, 16), cmyk)
  data = encode(image, "JPEG", quality=100, **options)
  pixels = images.decode_image(data)
  assert pixels.shape == (16, 24, 3)
  assert np.abs(pixels.astype(int) - expected).max() <= 3  # JPEG rounding.


def _cmyk_profile():
  """A tiny but valid CMYK -> Lab profile: paper white is L = 100, all inks
  together black, and each ink alone takes away half of the lightness."""
  grid = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
  lightness = np.clip(1 - 0.5 * grid.sum(1), 0, 1)
  lab = np.stack([lightness * 255, *[np.full(16, 128)] * 2], 1)
  ramp = bytes(range(256))
  matrix = struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
  table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix
  table += ramp * 4 + lab.round().astype(np.uint8).tobytes() + ramp * 3
  xyz = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
  text = b"text" + bytes(4) + b"test\0"
  desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
  tags = {b"A2B0": table, b"wtpt": xyz, b"cprt": text, b"desc": desc}
  directory, body = struct.pack(">I", len(tags)), b""
  start = 128 + 4 + 12 * len(tags)
  for name, value in tags.items():
    directory += name + struct.pack(">II", start + len(body), len(value))
    body += value + bytes(-len(value) % 4)
  header = struct.pack(">I", start + len(body)) + bytes(4)
  header += struct.pack(">I", 0x02400000) + b"prtrCMYKLab " + bytes(12)
  header += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
  return header.ljust(128, b"\0") + directory + body


def test_cmyk_goes_through_its_embedded_profile(encode):
  profile = _cmyk_profile()
  for cmyk, lightness in (((0, 0, 0, 0), 255), ((255, 0, 0, 0), 119)):
    image = Image.new("CMYK", (24, 16), cmyk)
    data = encode(image, "JPEG", quality=100, icc_profile=profile)
    pixels = images.decode_image(data).astype(int)
    # L = 50 is sRGB grey 119; without the profile, cyan ink would be (0, 255,
    # 255). 8-bit Lab tables are exact to about two levels.
    assert np.abs(pixels - lightness).max() <= 4


def test_16_bit_grey_is_scaled_and_not_clipped(encode):
  levels = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)
  expected = np.rint(levels / 257).astype(np.uint8)
  for kind in ("PNG", "TIFF"):
    pixels = images.decode_image(encode(Image.fromarray(levels), kind))
    np.testing.assert_array_equal(pixels, np.stack([expected] * 3, -1))


def test_32_bit_integers_are_refused(encode):
  levels = np.full((6, 8), 70000, np.int32)
  with pytest.raises(images.ImageDecodeError, match="unsupported pixel format"):
    images.decode_image(encode(Image.fromarray(levels), "TIFF"))


def test_floating_point_pixels_are_refused(encode):
  with pytest.raises(images.ImageDecodeError, match="unsupported pixel format"):
    images.decode_image(encode(Image.new("F", (8, 6)), "TIFF"))


def _palette_image():
  image = Image.new("P", (12, 8), 1)
  image.putpalette([0, 0, 0, *BLUE, *GREEN])
  image.paste(2, (0, 0, 6, 8))
  return image


@pytest.mark.parametrize(
  "image, options, left, right",
  [
    (Image.new("L", (12, 8), 77), {}, (77,) * 3, (77,) * 3),
    (Image.new("LA", (12, 8), (0, 128)), {}, (127,) * 3, (127,) * 3),
    (Image.new("RGBA", (12, 8), (*RED, 0)), {}, WHITE, WHITE),
    (Image.new("RGBA", (12, 8), (*RED, 255)), {}, RED, RED),
    (Image.new("RGB", (12, 8), RED), {"transparency": RED}, WHITE, WHITE),
    (Image.new("1", (12, 8), 1), {}, WHITE, WHITE),
    (_palette_image(), {}, GREEN, BLUE),
    (_palette_image(), {"transparency": 1}, GREEN, WHITE),
    (_palette_image(), {"transparency": bytes([255, 255, 0])}, WHITE, BLUE),
  ],
)
def test_every_mode_becomes_right_rgb_over_white(
  encode, image, options, left, right
):
  pixels = images.decode_image(encode(image, "PNG", **options))
  assert pixels.shape == (8, 12, 3) and pixels.dtype == np.uint8
  expected = np.empty_like(pixels)
  expected[:, :6], expected[:, 6:] = left, right
  np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(encode, kind):
  first, second = (
    Image.new("RGB", (12, 8), RED),
    Image.new("RGB", (12, 8), BLUE),
  )
  options = {"lossless": True} if kind == "WEBP" else {}
  data = encode(first, kind, save_all=True, append_images=[second], **options)
  assert (images.decode_image(data) == RED).all()


def test_a_two_picture_jpeg_gives_its_first_picture_dct_scaled(
  encode, smooth_photo
):
  data = encode(
    smooth_photo(400, 640),
    "MPO",
    save_all=True,
    append_images=[smooth_photo(30, 20, 1)],
  )
  assert images.decode_image(data, min_size=(100, 100)).shape == (100, 160, 3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
  "min_size, factor",
  [
    ((480, 640), 1),
    ((241, 1), 1),
    ((240, 320), 2),
    ((120, 100), 4),
    ((1, 1), 8),
  ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(
  encode, smooth_photo, orientation, min_size, factor
):
  upright = smooth_photo(480, 640)
  stored = np.asarray(upright)
  stored = np.ascontiguousarray(_STORED[orientation](stored))
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encode(Image.fromarray(stored), "JPEG", exif=exif, quality=95)
  pixels = images.decode_image(data, min_size=min_size)
  assert pixels.shape == (480 // factor, 640 // factor, 3)
  reference = upright.resize(pixels.shape[1::-1], Image.BOX)
  # Both average blocks of pixels; JPEG's own loss is about one level.
  assert np.abs(pixels.astype(int) - np.asarray(reference)).mean() < 2


def test_min_size_leaves_other_formats_alone(encode, smooth_photo):
  data = encode(smooth_photo(48, 64), "PNG")
  assert images.decode_image(data, min_size=(4, 4)).shape == (48, 64, 3)


def _png_header(height, width):
  """A PNG that promises many pixels and has none."""
  data = b"\x89PNG\r\n\x1a\n"
  size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  for body in (b"IHDR" + size, b"IDAT" + zlib.compress(b"")):
    data += struct.pack(">I", len(body) - 4) + body
    data += struct.pack(">I", zlib.crc32(body))
  return data


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 10_000, 16_384, 2**31 - 1])
def test_a_decompression_bomb_is_refused_from_its_header(side):
  with pytest.raises(images.ImageDecodeError) as caught:
    images.decode_image(_png_header(side, side), max_pixels=80_000_000)
  assert caught.value.reason == "too many pixels"


def test_the_pixel_limit_is_inclusive(encode):
  data = encode(Image.new("RGB", (12, 8)))
  assert images.decode_image(data, max_pixels=96).shape == (8, 12, 3)
  with pytest.raises(images.ImageDecodeError, match="8 x 12, the limit is 95"):
    images.decode_image(data, max_pixels=95)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(encode, smooth_photo, kind):
  data = encode(smooth_photo(120, 160), kind)
  with pytest.raises(images.ImageDecodeError):
    images.decode_image(data[: len(data) // 2])


def test_a_truncated_jpeg_is_called_so(encode, smooth_photo):
  data = encode(smooth_photo(120, 160), "JPEG")
  with pytest.raises(images.ImageDecodeError) as caught:
    images.decode_image(data[: len(data) // 2])
  assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
  "data, reason",
  [
    (b"", "empty file"),
    (b"this is a text\n" * 100, "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    (b"\xff\xd8\xff", "not an image"),
  ],
)
def test_what_is_no_image_says_why(data, reason):
  for read in (images.image_size, images.decode_image):
    with pytest.raises(images.ImageDecodeError) as caught:
      read(data)
    assert caught.value.reason == reason


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_flipped_bytes_never_raise_anything_else(encode, smooth_photo):
  generator = np.random.default_rng(0)
  for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
    data = np.frombuffer(encode(smooth_photo(24, 36), kind), np.uint8)
    for _ in range(40):
      broken = data.copy()
      places = generator.integers(0, min(len(data), 400), 4)
      broken[places] = generator.integers(0, 256, 4)
      try:
        pixels = images.decode_image(broken.tobytes(), max_pixels=10**6)
      except images.ImageDecodeError:
        continue
      assert pixels.ndim == 3 and pixels.shape[2] == 3


def test_image_size_reads_the_header_only(encode, smooth_photo):
  data = encode(smooth_photo(120, 160), "PNG")
  assert images.image_size(data[: len(data) // 2]) == (120, 160)


def test_the_error_survives_pickling():
  error = images.ImageDecodeError("truncated", "5 bytes")
  copy = pickle.loads(pickle.dumps(error))
  assert (copy.reason, copy.detail) == ("truncated", "5 bytes")
  assert str(copy) == "truncated (5 bytes)"


def test_no_global_state_of_pil_is_changed():
  from PIL import ImageFile

  assert Image.MAX_IMAGE_PIXELS == images.DEFAULT_MAX_PIXELS
  assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_pixels_of_a_png_are_compared_with_their_checksum(encode, smooth_photo):
  data = bytearray(encode(smooth_photo(20, 30), "PNG"))
  place = data.index(b"IEND") - 8  # The checksum of the last pixels.
  data[place] ^= 1
  with pytest.raises(images.ImageDecodeError, match="wrong checksum"):
    images.decode_image(bytes(data))
