"""Files of annotations and labels: read, and named when they are wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import zipfile
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image

from data_pipelines.common import images, storage
from data_pipelines.sources import base

_MAX_SHOWN = 20  # Problems of one file that a message lists.
Add = Callable[[str, str], None]  # Where in a file a problem is, and which.
_INDEX_MODES = ("1", "L", "P", "I", "I;16")
_LABEL_FORMATS = ("PNG", "TIFF", "BMP", "GIF")  # None of them loses anything.


@contextlib.contextmanager
def problems_of(what: str) -> Iterator[Add]:
  """Collects what is wrong with one file, to say all of it at once.

  Yields:
    A function that takes one.

  Raises:
    ValueError: at the end, if there was one.
  """
  found = []
  yield lambda where, problem: found.append(f"  {where}: {problem}")
  if not found:
    return
  count, lines = len(found), found[:_MAX_SHOWN]
  if count > _MAX_SHOWN:
    lines.append(f"  and {count - _MAX_SHOWN} more")
  noun = "problem" if count == 1 else "problems"
  raise ValueError("\n".join([f"{what}: {count} {noun}", *lines]))


def bad_labels(path: str, problem: object) -> images.ImageDecodeError:
  """The error of an image whose label file is of no use."""
  return images.ImageDecodeError("bad labels", f"{path}: {problem}")


def read(path: str) -> bytes:
  """Reads a file that belongs to one image; see `base.read_file`."""
  return base.read_file(path, f"{path}: ")


def read_text(path: str) -> str:
  """Reads a file of annotations.

  Raises:
    ValueError: it cannot be read, or is no UTF-8.
  """
  try:
    return storage.read_bytes(path).decode("utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error


def read_json(path: str, kind: type) -> list | dict:
  """Reads a JSON file of annotations, whose outermost value is a `kind`.

  Raises:
    ValueError: it cannot be read, is no JSON, or another value.
  """
  try:
    found = json.loads(read_text(path))
  except (json.JSONDecodeError, RecursionError) as error:
    raise ValueError(f"{path}: no JSON: {error}") from error
  if not isinstance(found, kind):
    names = {list: "a list", dict: "an object"}
    raise ValueError(
      f"{path}: {names.get(type(found), type(found).__name__)}, expected "
      f"{names[kind]}."
    )
  return found


def index_stems(directory: str, extensions: Sequence[str]) -> dict[str, str]:
  """The files below a directory: path without extension -> path.

  Raises:
    ValueError: it cannot be listed, or two files differ by extension only.
  """
  found = {}
  with problems_of(directory) as add:
    try:
      for path in storage.list_files(directory):
        stem, extension = posixpath.splitext(path)
        if extension.lower() in extensions:
          if stem in found:
            add(path, f"there is {found[stem]} as well")
          found[stem] = path
    except OSError as error:
      raise ValueError(f"{directory}: cannot be listed: {error}") from error
  return found


def resolve(root: str, path: str) -> str:
  """A path that a file names: absolute, a URL, or relative to `root`."""
  if storage.is_remote(path) or os.path.isabs(path):
    return path
  return storage.join(root, path)


def decode_pixels(data: bytes, path: str) -> np.ndarray:
  """Decodes a picture with its channels as they are, RGB before A.

  Returns:
    (h, w, c) uint8, c = 1, 3 or 4; 16 bits are scaled to 8, and rounded.

  Raises:
    ImageDecodeError: no picture, or of floats.
  """
  try:
    array = np.frombuffer(data, np.uint8)
    pixels = cv2.imdecode(array, cv2.IMREAD_UNCHANGED)
  except cv2.error:  # Empty, or too large.
    pixels = None
  if pixels is None:
    raise bad_labels(path, "no picture")
  if pixels.dtype == np.uint16:
    pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
  if pixels.dtype != np.uint8:
    raise bad_labels(path, f"{pixels.dtype} pixels, expected 8 or 16 bits")
  if pixels.ndim == 2:
    return pixels[..., None]
  order = [2, 1, 0, 3][: pixels.shape[2]]
  return np.ascontiguousarray(pixels[..., order])


def read_indices(path: str) -> np.ndarray:
  """Reads a picture whose pixels are numbers of classes.

  Returns:
    (h, w) integers; of a picture with a palette, indices into it.

  Raises:
    ImageDecodeError: no lossless picture of one channel.
  """
  data = io.BytesIO(read(path))
  try:
    image = Image.open(data, formats=_LABEL_FORMATS)
    if image.mode not in _INDEX_MODES:
      raise bad_labels(path, f"{image.mode} pixels, expected one channel")
    pixels = np.asarray(image)
  except images.ImageDecodeError:
    raise
  except Exception as error:  # PIL's decoders raise anything on bad bytes.
    raise bad_labels(
      path, f"no picture of {' '.join(_LABEL_FORMATS)}"
    ) from error
  return pixels.astype(np.int32)


def load_array(path: str, name: str, kind: type[np.number]) -> np.ndarray:
  """Reads an .npy file, or the array `name` of an .npz file.

  Raises:
    ImageDecodeError: neither, no such array, pickled objects (which are not
      looked at), or numbers of another kind.
  """
  data = io.BytesIO(read(path))
  try:
    found = np.load(data, allow_pickle=False)
    if not isinstance(found, np.ndarray):
      if name not in found:
        raise bad_labels(path, f"no array {name!r}; it has {list(found)}")
      found = found[name]
  except images.ImageDecodeError:
    raise
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise bad_labels(path, f"no array of numbers: {error}") from error
  if not np.issubdtype(found.dtype, kind):
    raise bad_labels(path, f"{found.dtype}, expected {kind.__name__}")
  return found


def load_matrix(path: str, side: int) -> np.ndarray:
  """Reads a text file of a square matrix.

  Raises:
    ImageDecodeError: other text, another size, or a number that is not
      finite.
  """
  data = read(path)
  try:
    matrix = np.loadtxt(io.StringIO(data.decode()), ndmin=2)
  except ValueError as error:
    raise bad_labels(path, f"no matrix: {error}") from error
  if matrix.shape != (side, side) or not np.isfinite(matrix).all():
    raise bad_labels(
      path, f"{matrix.shape} numbers, expected {(side, side)}, all finite"
    )
  return matrix
