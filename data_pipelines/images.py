"""Image bytes of any kind to upright 8-bit RGB, or one error that says why."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

# PIL warns above this many pixels, and refuses above twice as many.
DEFAULT_MAX_PIXELS = 89_478_485

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG with more pictures behind the first.
# Only these decoders see a file; PIL's one for EPS would start a program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class ImageDecodeError(ValueError):
  """An image that cannot be turned into RGB.

  Attributes:
    reason: one of a few short phrases, to count by.
    detail: what the decoder said, may be empty.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason} ({self.detail})" if self.detail else self.reason


def image_size(data: bytes) -> tuple[int, int]:
  """Reads the upright (height, width) in pixels from the header only.

  Raises:
    ImageDecodeError: empty, or not an image.
  """
  image, orientation = _open(data)
  return _upright(image.size[::-1], orientation)


def decode_rgb(
  data: bytes,
  *,
  min_size: tuple[int, int] | None = None,
  max_pixels: int = DEFAULT_MAX_PIXELS,
) -> np.ndarray:
  """Decodes to an array; see `decode_image`.

  Returns:
    (h, w, 3) uint8 RGB, upright, read-only.
  """
  return np.asarray(
    decode_image(data, min_size=min_size, max_pixels=max_pixels)
  )


def decode_image(
  data: bytes,
  *,
  min_size: tuple[int, int] | None = None,
  max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Image.Image:
  """Decodes any image kind to upright RGB, as the photographer saw it.

  Transparency is laid over white, 16-bit grey is scaled (not clipped), CMYK
  goes through its embedded profile where that is usable, and of an animation
  the first frame is taken. An EXIF block that a PNG carries after its pixels
  is not looked at.

  Args:
    data: the image file.
    min_size: smallest (height, width) in pixels, upright, that the caller
      needs. A larger JPEG is then decoded at the smallest of 1/1, 1/2, 1/4
      and 1/8 that is still at least this large. None decodes in full.
    max_pixels: more pixels than this in the header is an error. Above
      `DEFAULT_MAX_PIXELS` PIL warns, above twice that it refuses.

  Returns:
    A PIL image of mode RGB.

  Raises:
    ImageDecodeError: with the reason.
  """
  image, orientation = _open(data)
  width, height = image.size
  if width * height > max_pixels:
    raise ImageDecodeError(
      "too many pixels", f"{height} x {width}, the limit is {max_pixels}"
    )
  try:
    if min_size is not None and image.format in _JPEG:
      image.draft(None, _upright(min_size, orientation)[::-1])
    image.load()
    image = _to_rgb(image)
  except (ImageDecodeError, MemoryError):
    raise
  except Exception as error:  # PIL's decoders raise anything on bad bytes.
    reason = "truncated" if "truncated" in str(error) else "corrupt"
    raise ImageDecodeError(reason, str(error)) from error
  if orientation in _UPRIGHT:
    image = image.transpose(_UPRIGHT[orientation])
  return image


def _open(data: bytes) -> tuple[Image.Image, int]:
  """Opens the header; returns the image and its EXIF orientation, 1 to 8."""
  if not data:
    raise ImageDecodeError("empty file")
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
  except UnidentifiedImageError as error:
    raise ImageDecodeError("not an image") from error
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
