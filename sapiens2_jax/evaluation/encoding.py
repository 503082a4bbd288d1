"""Features of whole images, compiled once for each size."""

import functools

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sapiens2_jax.models import batching
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import token_grid

MAX_TOKENS = 1536  # patches in one call; bounds memory  # ours
MAX_IMAGES = 16  # images in one call  # ours


def chunk_size(num_patches: int) -> int:
  """How many images of `num_patches` go into one call."""
  return max(1, min(MAX_IMAGES, MAX_TOKENS // num_patches))


@functools.partial(jax.jit, static_argnums=0)
def _encode(encoder: Encoder, params: dict, images: Array) -> dict:
  out = encoder.apply({"params": params}, pixel_lib.from_uint8(images))
  return {"cls": out.cls, "patches": out.patches}


def encode(
  encoder: Encoder, params: dict, images: UInt8[np.ndarray, "b h w 3"]
) -> dict[str, np.ndarray]:
  """Features of whole images.

  Returns:
    cls (b, d) and patches (b, rows, cols, d), float32.
  """
  grid = token_grid(encoder.architecture, images.shape[1:3])
  return batching.map_batches(
    functools.partial(_encode, encoder, params),
    chunk_size(grid.num_tokens),
    images,
  )
