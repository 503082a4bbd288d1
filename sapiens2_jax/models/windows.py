"""The local stage of the 4K variant: each window of patches becomes one token.

Windows do not see each other, so that what is computed for some of them is
what would be computed for all.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.models.block import BlockStack
from sapiens2_jax.models.layers import partitioned, weight_init
from sapiens2_jax.models.pixels import split_patches


class WindowStage(nn.Module):
  """Attention among the patches of a window and a token of its own.

  Attributes:
    architecture: the size.
    dtype: of the computation.
    scan: see `BlockStack`.
    chunk: windows of each sequence that are computed at once; the backward
      pass keeps the pixels of a chunk and computes the rest again. It bounds
      memory and changes nothing else.

  Source: the public Sapiens2 release (`use_tokenizer`); no QK-norm, no
  LayerScale, no norm at the end.
  """

  architecture: Architecture
  dtype: DTypeLike = jnp.float32
  scan: bool = True
  chunk: int = 256

  def setup(self):
    arch = self.architecture
    special = partitioned(weight_init, None, None)
    num_tokens = 1 + arch.window_size**2
    self.window_token = self.param("window_token", special, (1, arch.embed_dim))
    self.window_positions = self.param(
      "window_positions", special, (num_tokens, arch.embed_dim)
    )
    self.blocks = BlockStack(
      segments=((arch.num_window_layers, arch.num_heads),),
      embed_dim=arch.embed_dim,
      num_heads=arch.num_heads,
      hidden_dim=arch.hidden_dim,
      layer_scale_init=None,
      rope_dtype="float32",
      dtype=self.dtype,
      scan=self.scan,
      remat="none",
      attention_backend="xla",  # 17 tokens: nothing for a kernel
      has_positions=False,
      axes=("windows", None),
    )

  def __call__(
    self,
    pixels: Float[Array, "*b n p"],
    embed: Callable[[Array], Array],
  ) -> Float[Array, "*b n d"]:
    """Pools windows.

    Args:
      pixels: of each window, in row, column, channel order.
      embed: the patch embedding, of pixels of the patches.
    """
    *batch, n, _ = pixels.shape
    with jax.named_scope("windows"):
      x = self._pool_in_chunks(pixels.reshape(-1, *pixels.shape[-2:]), embed)
    return x.reshape(*batch, n, -1)

  def _pool_in_chunks(
    self, pixels: Float[Array, "b n p"], embed: Callable[[Array], Array]
  ) -> Float[Array, "b n d"]:
    b, n, p = pixels.shape
    if n <= self.chunk:
      return self._pool(pixels, embed)
    assert self.blocks.stacked  # Read here: not first within the loop.
    pixels = jnp.pad(pixels, ((0, 0), (0, -n % self.chunk), (0, 0)))
    parts = pixels.reshape(b, -1, self.chunk, p).swapaxes(0, 1)
    x = lax.map(jax.checkpoint(lambda part: self._pool(part, embed)), parts)
    return x.swapaxes(0, 1).reshape(b, parts.shape[0] * self.chunk, -1)[:, :n]

  def _pool(
    self, pixels: Float[Array, "b n p"], embed: Callable[[Array], Array]
  ) -> Float[Array, "b n d"]:
    patches = split_patches(pixels, self.architecture.window_size)
    x = embed(patches.reshape(-1, *patches.shape[2:]))
    token = self.window_token.astype(self.dtype)
    token = jnp.broadcast_to(token, (x.shape[0], *token.shape))
    x = jnp.concatenate([token, x], axis=1)
    x = x + self.window_positions.astype(self.dtype)
    x = self.blocks.last_block(self.blocks.body(x, None), None, slice(0, 1))
    return x.reshape(*pixels.shape[:2], -1)
