"""An encoder with its weights, and features of photographs."""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sapiens2_jax import errors
from sapiens2_jax.evaluation import encoding
from sapiens2_jax.extraction import photographs
from sapiens2_jax.extraction.photographs import Image, Prepared, Size
from sapiens2_jax.models import batching
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import pixels_per_token
from sapiens2_jax.runtime.gathering import ALONE

Photograph = str | os.PathLike | Image


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
  """Of n photographs, in their order.

  Attributes:
    cls: (n, d) float32, one vector a photograph.
    patches: of each photograph (rows, cols, d) float32, on its own grid.
  """

  cls: Float[np.ndarray, "n d"]
  patches: list[Float[np.ndarray, "rows cols d"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """Of one photograph.

  Attributes:
    cls: (d,) float32.
    patches: (rows, cols, d) float32; None if nobody asked for them.
    original_size: (height, width) in pixels of the upright photograph.
  """

  cls: Float[np.ndarray, "d"]
  patches: Float[np.ndarray, "rows cols d"] | None
  original_size: Size


@dataclasses.dataclass(frozen=True)
class View:
  """How an encoder sees photographs.

  Attributes:
    size: (height, width) in pixels.
    token_size: side in pixels of what a token covers.
    fit: a key of `photographs.FITS`.
  """

  size: Size
  token_size: int
  fit: str

  def __call__(self, image: Image) -> Prepared:
    return photographs.FITS[self.fit](image, self.size, self.token_size)


class Pretrained(tuple):
  """What `load_pretrained` returns: a pair `encoder, params`, and more.

      pretrained = sapiens2_jax.load_pretrained("weights.safetensors")
      found = pretrained.features(["one.jpg", "two.jpg"])
      encoder, params = pretrained

  Attributes:
    encoder: the module.
    params: nested dicts of float32 arrays.
    image_size: (height, width) in pixels that the weights were trained at.
  """

  def __new__(
    cls, encoder: Encoder, params: dict[str, Any], image_size: Size
  ) -> "Pretrained":
    self = super().__new__(cls, (encoder, params))
    self.encoder, self.params, self.image_size = encoder, params, image_size
    self._on_devices = params  # Copied to all of them on first use.
    return self

  def __getnewargs__(self) -> tuple:
    """Of copies and pickles."""
    return self.encoder, self.params, self.image_size

  def features(
    self,
    images: Photograph | Iterable[Photograph],
    *,
    size: Size | None = None,
    fit: str = "resize",
  ) -> Features:
    """Features of photographs; compiled on the first call with a size.

    Args:
      images: one, or several; each a path, or RGB of 0 to 255, (h, w, 3) uint8.
      size: (height, width) in pixels that the encoder sees; None for
        `image_size`. A larger one takes longer, and gives more patches.
      fit: "resize" or "letterbox", see `load_image`. Of a letterboxed
        photograph the patches are those that show it.

    Returns:
      Features of all of them, which must fit into memory: the command
      `sapiens2 features` writes those of a large folder.

    Raises:
      ValueError: one cannot be read, or is no path and not uint8.
    """
    view = self.view(size, fit)
    is_array = isinstance(images, np.ndarray | jax.Array)
    is_many = isinstance(images, Iterable) and not _is_path(images)
    is_one = images.ndim <= 3 if is_array else not is_many
    images = [images] if is_one else list(images)
    prepared = photographs.read_ahead(lambda one: view(_read(one)), images)
    found = list(self.extract(view, prepared, num_images=len(images)))
    cls = np.array([one.cls for one in found], np.float32)
    width = self.encoder.architecture.embed_dim
    return Features(cls.reshape(-1, width), [one.patches for one in found])

  def view(self, size: Size | None = None, fit: str = "resize") -> View:
    """How photographs are shown to the encoder; arguments of `features`.

    Raises:
      ValueError: an unknown fit, or rows of the size would be lost.
    """
    size = tuple(self.image_size if size is None else size)
    token_size = pixels_per_token(self.encoder.architecture)
    photographs.check_size(size, token_size)
    errors.lookup(photographs.FITS, fit, "fit")
    return View(size, token_size, fit)

  def extract(
    self,
    view: View,
    images: Iterable[Prepared],
    *,
    num_images: int,
    has_patches: bool = True,
  ) -> Iterator[Found]:
    """Features of photographs as they come; few are in memory at a time.

    All devices of this process share the work.

    Args:
      view: of `view`.
      images: what it returned.
      num_images: at most so many.
      has_patches: False: only [cls], which is less work.

    Yields:
      One for each, in their order.

    Raises:
      ValueError: a feature is not finite.
    """
    outputs = encoding.OUTPUTS if has_patches else ("cls",)
    devices = tuple(jax.local_devices())
    model = encoding.spread(
      self.encoder, self._on_devices, view.size, devices, outputs, num_images
    )
    self._on_devices = model.params
    waiting = collections.deque()

    def pixels() -> Iterator[Image]:
      for prepared in images:
        waiting.append(prepared)
        yield prepared.image

    for found in batching.as_they_come(
      functools.partial(model.apply_fn, model.params),
      model.batch_size,
      pixels(),
      np.zeros((0, *view.size, 3), np.uint8),
      ALONE.gather,
    ):
      found = {name: x.astype(np.float32) for name, x in found.items()}
      if not np.isfinite(found["cls"]).all():
        raise ValueError(
          "features are not finite; expected weights that were trained, and a "
          "dtype that holds what they compute."
        )
      for row, cls in enumerate(found["cls"]):
        prepared = waiting.popleft()
        # A copy, so that no feature keeps those of a whole batch.
        patches = (
          found["patches"][row][prepared.tokens].copy() if has_patches else None
        )
        yield Found(cls.copy(), patches, prepared.original_size)


def _is_path(given: Any) -> bool:
  return isinstance(given, str | os.PathLike)


def _read(given: Photograph) -> Image:
  """The image behind a path, or one that is there."""
  if _is_path(given):
    return photographs.read_image(given)
  expected = "expected a path, or RGB of 0 to 255 as uint8 (h, w, 3)"
  if not hasattr(given, "shape"):  # One of Pillow would not be turned upright.
    raise ValueError(f"images: found {type(given).__name__}; {expected}.")
  image = np.asarray(given)
  is_rgb = image.ndim == 3 and image.shape[-1] == 3 and image.size
  if image.dtype != np.uint8 or not is_rgb:
    raise ValueError(
      f"images: found {image.dtype} of shape {image.shape}; {expected}."
    )
  return image
