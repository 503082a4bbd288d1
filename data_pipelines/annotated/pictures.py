"""Pictures that hold labels: numbers of classes, levels, and coded maps.

None may come from a format that loses something: around every edge of a mask
that was a JPEG there are levels that nobody drew.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from data_pipelines.annotated import files
from data_pipelines.common import images

_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "WEBP")
_LOSSY = ("JPEG", "MPO", "AVIF", "JPEG2000")  # Named, if PIL knows them.
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_INDEX_MODES = ("1", "L", "P", "I", "I;16")
_HALF = 128  # Of 255.
_ADVICE = "write it as PNG"


class _Picture(NamedTuple):
  data: bytes
  image: Image.Image  # Its header; the pixels are read when asked for.


def read_indices(path: str) -> np.ndarray:
  """Reads a picture whose pixels are numbers of classes.

  Returns:
    (h, w) int32; of a picture with a palette, indices into it.

  Raises:
    ImageDecodeError: no lossless picture of one channel.
  """
  data, image = _open(path)
  if image.mode not in _INDEX_MODES:
    raise files.bad_labels(path, f"{image.mode} pixels, expected one channel")
  # PIL spreads the levels of 2 and 4 bits over 255.
  if image.format == "PNG" and image.mode == "L" and data[24] != 8:
    raise files.bad_labels(path, f"{data[24]} bits, expected 8 or 16")
  return _pixels(path, image).astype(np.int32)


def read_matte(
  path: str, image: bytes | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
  """Reads how much of each pixel is covered, and by which colours.

  A picture that is somewhere transparent says it by its alpha. Else a palette
  of colours says it by its numbers (0: nothing, any other: all), a palette of
  greys, like any grey picture, by its levels. If there is nothing but 0 and 1,
  1 is all.

  Args:
    path: of the picture.
    image: its bytes, if it is the photograph itself, which EXIF may turn.

  Returns:
    (h, w) uint8, 0 to 255; and (h, w, 3) uint8 RGB, not multiplied by it, None
    if there is no transparency. 16 bits are scaled to 8, and rounded.

  Raises:
    ImageDecodeError: no lossless picture of that kind.
  """
  data, opened = _open(path, image)
  if opened.has_transparency_data:
    pixels = _with_alpha(path, data, opened)
    if pixels[..., 3].min() < 255:
      return pixels[..., 3], pixels[..., :3]
  if opened.mode == "P":
    return _palette_levels(path, opened), None
  pixels = _decode(path, data)
  if not (pixels[..., :3] == pixels[..., :1]).all():
    raise files.bad_labels(path, "has colours, expected grey or RGBA levels")
  levels = pixels[..., 0]
  is_binary = levels.max() == 1
  return (levels * 255).astype(np.uint8) if is_binary else _to_8(levels), None


def read_mask(path: str) -> np.ndarray:
  """(h, w) bool: where `read_matte` is at least half of the range.

  Raises:
    ImageDecodeError: as `read_matte`; or nowhere, though there are levels above
      0: they are meant otherwise.
  """
  levels, _ = read_matte(path)
  mask = levels >= _HALF
  if not mask.any() and levels.any():
    raise files.bad_labels(
      path,
      f"no level of the mask is above half of the range, the highest is "
      f"{levels.max()} of 255; write people as 255",
    )
  return mask


def read_coded(path: str, bits: int, channels: int) -> np.ndarray:
  """Reads a map that is coded as levels: (h, w, channels), uint8 or uint16.

  Raises:
    ImageDecodeError: no lossless picture of so many bits and channels.
  """
  data, _ = _open(path)
  pixels = _decode(path, data)
  found = pixels.itemsize * 8, pixels.shape[2]
  if found != (bits, channels):
    raise files.bad_labels(
      path,
      f"{found[0]} bits and {found[1]} channels, expected {bits} bits and "
      f"{channels}",
    )
  return pixels


def _open(path: str, photograph: bytes | None = None) -> _Picture:
  data = photograph or files.read(path)
  expected = f"no picture of {' '.join(_FORMATS)}"
  try:
    image = Image.open(io.BytesIO(data))
  except Exception as error:  # PIL's parsers raise anything on bad bytes.
    raise files.bad_labels(path, expected) from error
  kind = image.format
  if kind in _LOSSY or (kind == "WEBP" and _is_lossy_webp(data)):
    raise files.bad_labels(path, f"{kind} loses labels; {_ADVICE}")
  if kind == "TIFF" and image.info.get("compression") in _LOSSY_TIFF:
    raise files.bad_labels(path, f"TIFF with JPEG loses labels; {_ADVICE}")
  if kind not in _FORMATS:
    raise files.bad_labels(path, expected)
  if photograph is None and images.read_header(data)[1] != 1:
    raise files.bad_labels(path, f"is turned by EXIF; {_ADVICE} without")
  return _Picture(data, image)


def _is_lossy_webp(data: bytes) -> bool:
  """Whether one of a WebP file's chunks has lossy pixels."""
  place = 12
  while place + 8 <= len(data):
    name, size = data[place : place + 4], data[place + 4 : place + 8]
    if name in (b"VP8 ", b"ANMF"):
      return True
    size = int.from_bytes(size, "little")
    place += 8 + size + size % 2
  return False


def _pixels(
  path: str, image: Image.Image, mode: str | None = None
) -> np.ndarray:
  try:
    return np.asarray(image.convert(mode) if mode else image)
  except Exception as error:  # PIL's decoders raise anything on bad bytes.
    raise files.bad_labels(path, f"is damaged: {error}") from error


def _with_alpha(path: str, data: bytes, image: Image.Image) -> np.ndarray:
  """(h, w, 4) uint8 of a picture that has transparency in any form."""
  if image.mode in ("RGBA", "LA"):
    pixels = _decode(path, data)  # PIL cuts 16 bits off.
    if pixels.shape[2] == 4:
      return _to_8(pixels)
  return _pixels(path, image, "RGBA")


def _palette_levels(path: str, image: Image.Image) -> np.ndarray:
  indices = _pixels(path, image)
  colors = np.zeros((256, 3), np.uint8)
  known = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
  colors[: len(known)] = known
  used = colors[np.bincount(indices.reshape(-1), minlength=256) > 0]
  if (used == used[:, :1]).all() and used.max() >= _HALF:
    return colors[indices, 0]
  return np.where(indices > 0, 255, 0).astype(np.uint8)


def _to_8(pixels: np.ndarray) -> np.ndarray:
  """16 bits are scaled to 8, and rounded."""
  if pixels.dtype == np.uint8:
    return pixels
  return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _decode(path: str, data: bytes) -> np.ndarray:
  try:
    array = np.frombuffer(data, np.uint8)
    pixels = cv2.imdecode(array, cv2.IMREAD_UNCHANGED)
  except cv2.error:  # Too large.
    pixels = None
  if pixels is None:
    raise files.bad_labels(path, "is damaged")
  if pixels.dtype not in (np.uint8, np.uint16):
    raise files.bad_labels(
      path, f"{pixels.dtype} pixels, expected 8 or 16 bits"
    )
  if pixels.ndim == 2:
    return pixels[..., None]
  order = [2, 1, 0, 3][: pixels.shape[2]]
  return np.ascontiguousarray(pixels[..., order])
