"""Features of whole images, compiled once for each size."""

import functools

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sapiens2_jax.models import batching
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.tasks.base import Size
from sapiens2_jax.training import step
from sapiens2_jax.training.rows import OnMesh
from sapiens2_jax.training.step import Spread, jit_on_devices

MAX_TOKENS = 1536  # patches of a device in one call; bounds memory  # ours
MAX_IMAGES = 16  # images of a device in one call  # ours
OUTPUTS = ("cls", "patches")


def chunk_size(num_patches: int) -> int:
  """How many images of `num_patches` go into one call of a device."""
  return max(1, min(MAX_IMAGES, MAX_TOKENS // num_patches))


def _encode(
  encoder: Encoder, outputs: tuple[str, ...], params: dict, images: Array
) -> dict:
  out = encoder.apply({"params": params}, pixel_lib.from_uint8(images))
  # The compiler leaves out what only others need.
  found = {"cls": out.cls, "patches": out.patches}
  return {name: found[name] for name in outputs}


@functools.lru_cache(maxsize=8)
def _compile(
  encoder: Encoder, devices: tuple | None, outputs: tuple[str, ...]
) -> OnMesh:
  function = functools.partial(_encode, encoder, outputs)
  return jit_on_devices(function, devices and list(devices))


def spread(
  encoder: Encoder,
  params: dict,
  image_size: Size,
  devices: tuple | None = None,
  outputs: tuple[str, ...] = OUTPUTS,
  num_images: int | None = None,
) -> Spread:
  """An encoder of images of one size on several devices.

  Args:
    encoder: the module.
    params: the same in all processes.
    image_size: (height, width).
    devices: see `jit_on_devices`.
    outputs: which of `OUTPUTS` are wanted.
    num_images: how many there are in all; None for many. Of few, a call takes
      no more than the next power of two.

  Returns:
    Its outputs are cls (b, d) and patches (b, rows, cols, d), of the dtype
    that the encoder computes in.
  """
  grid = token_grid(encoder.architecture, image_size)
  compiled = _compile(encoder, devices, outputs)
  size = chunk_size(grid.num_tokens)
  if num_images is not None:
    share = -(-num_images // len(compiled.mesh.local_devices))
    size = min(size, 2 ** max(share - 1, 0).bit_length())
  return step.spread(compiled, params, size)


def encode(
  encoder: Encoder, params: dict, images: UInt8[np.ndarray, "b h w 3"]
) -> dict[str, np.ndarray]:
  """Features of whole images, see `spread`, by this process alone; float32."""
  devices = tuple(jax.local_devices())
  model = spread(encoder, params, images.shape[1:3], devices)
  apply = functools.partial(model.apply_fn, model.params)
  return batching.map_batches(apply, model.batch_size, images)
