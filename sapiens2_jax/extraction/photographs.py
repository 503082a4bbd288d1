"""Photographs as an encoder takes them."""

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image as PIL

from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.sources import base
from sapiens2_jax import errors
from sapiens2_jax.models import pixels as pixel_lib

Image = UInt8[np.ndarray, "h w 3"]  # RGB
Size = tuple[int, int]  # (height, width), pixels
Job = TypeVar("Job")
Result = TypeVar("Result")

IMAGE_SIZE = (1024, 768)  # of released weights
PATCH_SIZE = 16  # of all sizes
_THREADS = 8  # that read and decode, at most  # ours


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
  """A photograph of the size that the encoder sees.

  Attributes:
    image: (h, w, 3) uint8 RGB.
    tokens: which rows and columns of its tokens show the photograph.
    original_size: (height, width) of the upright photograph.
  """

  image: Image
  tokens: tuple[slice, slice]
  original_size: Size


def load_image(
  path: str | os.PathLike,
  size: Size = IMAGE_SIZE,
  *,
  fit: str = "resize",
) -> Float[Array, "h w 3"]:
  """Reads a photograph as the encoder takes it, ImageNet-normalised float32.

      image = sapiens2_jax.load_image("photo.jpg", (512, 384))
      out = jax.jit(encoder.apply)({"params": params}, image[None])

  It is turned upright as its EXIF says. All kinds of files are read that a
  corpus is built from.

  Args:
    path: on a disk, or a URL.
    size: (height, width) in pixels, multiples of 16.
    fit: "resize" changes the aspect to that of `size`, as the image processor
      of transformers does; "letterbox" keeps it (within half a patch), with
      black around.

  Raises:
    ValueError: it cannot be read, or the size is not whole patches.
  """
  check_size(size, PATCH_SIZE)
  prepare = errors.lookup(FITS, fit, "fit")
  prepared = prepare(read_image(path), size, PATCH_SIZE)
  return pixel_lib.from_uint8(prepared.image)


def read_image(path: str | os.PathLike) -> Image:
  """A photograph of any kind that a corpus is built from, upright.

  Raises:
    ValueError: it cannot be read; the message names it.
  """
  name = os.fspath(path)
  try:
    return images.decode_image(base.read_file(name))
  except UnusableExample as error:
    raise ValueError(f"{name}: {error}") from error
  except base.ShardReadError as error:
    raise OSError(str(error)) from error


def check_size(size: Size, token_size: int) -> None:
  """Refuses a size of which rows or columns would be lost.

  Raises:
    ValueError: `size` is not (height, width) of whole tokens.
  """
  is_size = len(size) == 2 and all(side >= 1 for side in size)
  if is_size and not any(side % token_size for side in size):
    return
  nearest = ""
  if is_size:
    near = [max(1, round(side / token_size)) * token_size for side in size]
    nearest = f"; the nearest is {near[0]} x {near[1]}"
  raise ValueError(
    f"size={tuple(size)}: expected height and width in multiples of "
    f"{token_size} pixels, a patch{nearest}."
  )


def stretch(image: Image, size: Size, token_size: int) -> Prepared:
  """To a size of any aspect, as the image processor of transformers does."""
  rows, cols = (side // token_size for side in size)
  tokens = slice(0, rows), slice(0, cols)
  return Prepared(_resize(image, size), tokens, image.shape[:2])


def letterbox(image: Image, size: Size, token_size: int) -> Prepared:
  """To the most whole tokens of its aspect that fit; black around.

  No token shows both photograph and black, so the aspect may change by half a
  token.
  """
  scale = min(side / own for side, own in zip(size, image.shape[:2]))
  counts = [
    max(1, min(round(own * scale / token_size), side // token_size))
    for own, side in zip(image.shape[:2], size)
  ]
  starts = [
    (side // token_size - count) // 2 for side, count in zip(size, counts)
  ]
  canvas = np.zeros((*size, 3), np.uint8)
  rows, cols = (
    slice(start, start + count) for start, count in zip(starts, counts)
  )
  inside = tuple(
    slice(place.start * token_size, place.stop * token_size)
    for place in (rows, cols)
  )
  pixels = tuple(count * token_size for count in counts)
  canvas[inside] = _resize(image, pixels)
  return Prepared(canvas, (rows, cols), image.shape[:2])


FITS = {"resize": stretch, "letterbox": letterbox}


def _resize(image: Image, size: Size) -> Image:
  """As transformers' image processor: bilinear, antialiased."""
  resized = PIL.fromarray(image).resize(size[::-1], PIL.Resampling.BILINEAR)
  return np.asarray(resized)


def read_ahead(
  read: Callable[[Job], Result], jobs: Iterable[Job]
) -> Iterator[Result]:
  """What `read` returns for each job, in their order; threads are ahead."""
  threads = min(_THREADS, os.cpu_count() or 1)
  waiting = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    try:
      for job in jobs:
        waiting.append(pool.submit(read, job))
        if len(waiting) > 2 * threads:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()
