"""Image bytes of any kind to upright 8-bit RGB, or one error that says why."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageCms, UnidentifiedImageError, features

from data_pipelines.common.errors import UnusableExample

# PIL warns above this many pixels, and refuses above twice as many.
DEFAULT_MAX_PIXELS = 89_478_485

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
  2: lambda pixels: cv2.flip(pixels, 1),
  3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
  4: lambda pixels: cv2.flip(pixels, 0),
  5: cv2.transpose,
  6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
  7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
  8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_SWAPS_SIDES = (5, 6, 7, 8)
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG with more pictures behind the first.
_MAGIC = {
  b"\xff\xd8\xff": "JPEG",
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"GIF8": "GIF",
  b"II*\0": "TIFF",
  b"MM\0*": "TIFF",
}
_DCT_SCALES = (8, 4, 2)  # In between, libjpeg-turbo has no fast code.
try:
  import pillow_heif
except ImportError:
  pillow_heif = None
else:
  pillow_heif.register_heif_opener()
# Only these decoders see a file; PIL's one for EPS would start a program.
FORMATS = (
  *("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"),
  *(("AVIF",) if features.check("avif") else ()),
  *(("HEIF",) if pillow_heif else ()),
)
# What reads a format that is none of the above.
_MISSING = {
  "AVIF": "AVIF: pip install 'pillow>=11.3'",
  "HEIF": "HEIC: pip install pillow-heif",
}


class ImageDecodeError(UnusableExample):
  """An image that cannot be turned into RGB."""


def sniff(head: bytes) -> str | None:
  """The format that a file's first 32 bytes begin; None if it is no image."""
  if head[4:8] == b"ftyp":
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, 32, 4))}
    if brands & {b"avif", b"avis"}:
      return "AVIF"
    if brands & {b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"}:
      return "HEIF"
  if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
    return "WEBP"
  if head[:2] == b"BM" and head[6:10] == bytes(4):
    return "BMP"
  found = (kind for magic, kind in _MAGIC.items() if head.startswith(magic))
  return next(found, None)


def explain_format(kind: str) -> str | None:
  """What is missing to decode a format that `sniff` names; None if nothing."""
  return None if kind in FORMATS else _MISSING[kind]


def image_size(data: bytes) -> tuple[int, int]:
  """Reads the upright (height, width) in pixels from the header only.

  Raises:
    ImageDecodeError: empty, or not an image.
  """
  return _upright(*read_header(data))


def read_header(data: bytes) -> tuple[tuple[int, int], int]:
  """The (height, width) of the pixels as stored, and the EXIF orientation.

  Orientation 1 is upright; 3, 6 and 8 turn by 180 degrees, 90 clockwise and 90
  counter-clockwise; 2, 4, 5 and 7 mirror as well.

  Raises:
    ImageDecodeError: empty, or not an image.
  """
  image, orientation = _open(data)
  size = image.size[::-1]
  if image.format == "TIFF":  # PIL gives the size of what it has turned.
    orientation = _read_orientation(image)
    size = _upright(size, orientation)
  return size, orientation


def decode_image(
  data: bytes,
  *,
  min_size: tuple[int, int] | None = None,
  max_pixels: int = DEFAULT_MAX_PIXELS,
) -> np.ndarray:
  """Decodes any image kind to upright RGB, as the photographer saw it.

  Transparency is laid over white, 16-bit grey is scaled (not clipped), CMYK
  goes through its embedded profile where that is usable, and of an animation
  the first frame is taken. Profiles of RGB and grey images are not applied,
  as in what loads images for the released models. An EXIF block that a PNG
  carries after its pixels is not looked at.

  Args:
    data: the image file.
    min_size: smallest (height, width) in pixels, upright, that the caller
      needs. A larger JPEG is then decoded at the smallest of 1/1, 1/2, 1/4
      and 1/8 that is still at least this large. None decodes in full.
    max_pixels: more pixels than this in the header is an error. Above
      `DEFAULT_MAX_PIXELS` PIL warns, above twice that it refuses.

  Returns:
    (h, w, 3) uint8 RGB, may be read-only.

  Raises:
    ImageDecodeError: with the reason.
  """
  image, orientation = _open(data)
  width, height = image.size
  if width * height > max_pixels:
    raise ImageDecodeError(
      "too many pixels", f"{height} x {width}, the limit is {max_pixels}"
    )
  wanted = image.size[::-1]
  if min_size is not None:
    wanted = _upright(min_size, orientation)
  pixels = _decode_jpeg(data, image, wanted)
  if pixels is None:
    pixels = _decode_with_pil(data, image, wanted)
  if orientation in _UPRIGHT:
    pixels = _UPRIGHT[orientation](pixels)
  return pixels


def _decode_jpeg(
  data: bytes, image: Image.Image, min_size: tuple[int, int]
) -> np.ndarray | None:
  """The fast way; None if PIL has to look at it."""
  if image.format not in _JPEG or image.mode != "RGB":
    return None
  width, height = image.size
  scale = 1
  for candidate in _DCT_SCALES:
    if (
      -(-height // candidate) >= min_size[0]
      and -(-width // candidate) >= min_size[1]
    ):
      scale = candidate
      break
  try:
    return simplejpeg.decode_jpeg(
      data, min_height=-(-height // scale), min_width=-(-width // scale)
    )
  except ValueError:  # Also for what PIL takes as harmless.
    return None


def _decode_with_pil(
  data: bytes, image: Image.Image, min_size: tuple[int, int]
) -> np.ndarray:
  try:
    if image.format in _JPEG:
      image.draft(None, min_size[::-1])
    image.load()
    if image.format == "PNG":
      _check_png(data)
    return np.asarray(_to_rgb(image))
  except (ImageDecodeError, MemoryError):
    raise
  except Exception as error:  # PIL's decoders raise anything on bad bytes.
    reason = "truncated" if "truncated" in str(error) else "corrupt"
    raise ImageDecodeError(reason, str(error)) from error


def _check_png(data: bytes) -> None:
  """Compares pixels with their checksums, at which PIL does not look."""
  view, place = memoryview(data), 8
  while place + 12 <= len(data):
    size, name = struct.unpack_from(">I4s", view, place)
    end = place + 8 + size
    if name == b"IDAT" and view[end : end + 4] != zlib.crc32(
      view[place + 4 : end]
    ).to_bytes(4, "big"):
      raise ImageDecodeError("corrupt", "wrong checksum of pixels")
    if name == b"IEND":
      return
    place = end + 4


def _open(data: bytes) -> tuple[Image.Image, int]:
  """Opens the header; returns the image and its EXIF orientation, 1 to 8."""
  if not data:
    raise ImageDecodeError("empty file")
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
  except UnidentifiedImageError as error:
    kind = sniff(data[:32])
    reason = kind and explain_format(kind)
    raise ImageDecodeError(reason or "not an image") from error
  except (
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    raise ImageDecodeError("too many pixels", str(error)) from error
  except MemoryError:
    raise
  except Exception as error:  # PIL's parsers raise anything on bad bytes.
    raise ImageDecodeError("corrupt", str(error)) from error
  return image, _orientation(image)


def _orientation(image: Image.Image) -> int:
  if image.format == "TIFF":  # PIL turns TIFF upright itself.
    return 1
  return _read_orientation(image)


def _read_orientation(image: Image.Image) -> int:
  try:
    # The base method: PNG's own would decode all pixels to look behind them.
    orientation = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
  except Exception:  # A broken EXIF block does not spoil the pixels.
    return 1
  return orientation if orientation in _UPRIGHT else 1


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
  """Maps (height, width) as stored to upright, and equally back."""
  return size[::-1] if orientation in _SWAPS_SIDES else size


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode == "RGB" and not image.has_transparency_data:
    return image
  if image.mode == "CMYK":
    return _cmyk_to_rgb(image)
  if image.mode == "I" or image.mode.startswith("I;16"):
    return _grey16_to_rgb(image)
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
  if image.mode in ("1", "L", "P", "YCbCr", "HSV", "RGBX"):
    return image.convert("RGB")
  raise ImageDecodeError("unsupported pixel format", image.mode)


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
  profile = image.info.get("icc_profile")
  if profile:
    try:
      return ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
      )
    except (ImageCms.PyCMSError, OSError):  # Broken, or not of CMYK.
      return image.convert("RGB")
  return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
  levels = np.asarray(image)
  if levels.min() < 0 or levels.max() > 65535:
    raise ImageDecodeError("unsupported pixel format", "32-bit integers")
  grey = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
  return Image.fromarray(grey).convert("RGB")
