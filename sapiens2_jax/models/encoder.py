"""The Sapiens2 vision transformer."""

import functools
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.models.block import BlockStack
from sapiens2_jax.models.grid import TokenGrid, pixels_per_token, token_grid
from sapiens2_jax.models.layers import RMSNorm, dense, partitioned, weight_init
from sapiens2_jax.models.pixels import check_normalized, patchify
from sapiens2_jax.models.rope import Rope, rope_table
from sapiens2_jax.models.windows import WindowStage


@struct.dataclass
class EncoderOutput:
  """What the encoder returns, after the final norm.

  Attributes:
    cls: (b, d).
    registers: (b, 8, d).
    patches: (b, rows, cols, d), or (b, n, d) for n visible patches.
  """

  cls: Array
  registers: Array
  patches: Array


Images = Shaped[Array, "b h w 3"]  # floats; others are refused with a word
Tokens = Float[Array, "b t d"]


class Encoder(nn.Module):
  """Images to [cls], register and patch features.

  Attributes:
    architecture: the size.
    rope_dtype: "float32" (transformers) or "bfloat16" (the reference).
    dtype: of the computation; parameters stay float32.
    scan: scan over layers or unroll them; same parameters.
    remat: what the backward pass keeps, a key of `block.REMAT_POLICIES`.
    attention_backend: a key of `attention.BACKENDS`.
    window_chunk: see `WindowStage`; of the 4K variant.

  Source: arXiv 2604.21681 section 3; initial LayerScale 1e-4: reference.
  """

  architecture: Architecture
  rope_dtype: str = "float32"
  dtype: DTypeLike = jnp.float32
  layer_scale_init: float = 1e-4
  scan: bool = True
  remat: str = "none"
  attention_backend: str = "auto"
  window_chunk: int = 256

  def setup(self):
    arch = self.architecture
    special = partitioned(weight_init, None, None)
    self.cls_token = self.param("cls_token", special, (1, arch.embed_dim))
    self.registers = self.param(
      "registers", special, (arch.num_registers, arch.embed_dim)
    )
    self.patch_embed = dense(arch.embed_dim, (None, "mlp"), dtype=self.dtype)
    if arch.has_windows:
      self.window_stage = WindowStage(
        arch, dtype=self.dtype, scan=self.scan, chunk=self.window_chunk
      )
    self.blocks = BlockStack(
      segments=arch.segments,
      embed_dim=arch.embed_dim,
      num_heads=arch.num_heads,
      hidden_dim=arch.hidden_dim,
      layer_scale_init=self.layer_scale_init,
      rope_dtype=self.rope_dtype,
      dtype=self.dtype,
      scan=self.scan,
      remat=self.remat,
      attention_backend=self.attention_backend,
    )
    self.norm = RMSNorm(dtype=self.dtype)

  def __call__(
    self, images: Images, visible_ids: Int[Array, "b n"] | None = None
  ) -> EncoderOutput:
    """Encodes images, or only their tokens `visible_ids`.

    Args:
      images: ImageNet-normalised RGB of any size; a remainder below one token
        is dropped, with a warning.
      visible_ids: row-major numbers of the tokens to look at; each keeps the
        position it has in the whole image.

    Raises:
      ValueError: a wrong shape; images below one token; or such that cannot be
        normalised, see `check_normalized`.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
      raise ValueError(
        f"images must be (b, h, w, 3), found shape {images.shape}."
      )
    check_normalized(images)
    grid = self.grid(images.shape[1:3])
    lost = [a - b for a, b in zip(images.shape[1:3], grid.image_size)]
    if any(lost):
      warnings.warn(
        f"images of {images.shape[1]} x {images.shape[2]} pixels: the last "
        f"{lost[0]} rows and {lost[1]} columns are not looked at, as a token "
        f"is {grid.pixels_per_token} pixels high and wide",
        stacklevel=2,
      )
    x = self.encode(*self.tokenize(self.patchify(images), grid, visible_ids))
    prefix = self.architecture.num_prefix_tokens
    features = x[:, prefix:]
    if visible_ids is None:
      features = features.reshape(x.shape[0], *grid.shape, -1)
    return EncoderOutput(x[:, 0], x[:, 1:prefix], features)

  @nn.nowrap
  def grid(self, image_size: tuple[int, int]) -> TokenGrid:
    """The tokens of an image of (height, width) pixels."""
    return token_grid(self.architecture, image_size)

  @nn.nowrap
  def patchify(
    self, images: Float[Array, "*b h w 3"]
  ) -> Float[Array, "*b n p"]:
    """Pixels of each token, which `tokenize` takes, of normalised images."""
    return patchify(images, pixels_per_token(self.architecture))

  def tokenize(
    self,
    patches: Float[Array, "*b n p"],
    grid: TokenGrid,
    visible_ids: Int[Array, "*b m"] | None = None,
  ) -> tuple[Float[Array, "*b t d"], Rope]:
    """Embeds the tokens of a grid behind the prefix tokens.

    In the 4K variant only the visible windows are computed.

    Returns:
      [cls], registers, then all patches or the visible ones; and their
      positions, with the batch axes of `visible_ids` if it is given.
    """
    arch = self.architecture
    rope = rope_table(grid.shape, arch.head_dim, self.rope_dtype)
    if visible_ids is not None:
      patches = jnp.take_along_axis(patches, visible_ids[..., None], axis=-2)
      rope = rope.take(visible_ids)
    x = self._embed(patches.astype(self.dtype))
    prefix = jnp.concatenate([self.cls_token, self.registers])
    prefix = jnp.broadcast_to(
      prefix.astype(self.dtype), (*x.shape[:-2], *prefix.shape)
    )
    x = jnp.concatenate([prefix, x], axis=-2)
    return x, rope.with_prefix(arch.num_prefix_tokens)

  def _embed(self, pixels: Float[Array, "*b n p"]) -> Float[Array, "*b n d"]:
    if not self.architecture.has_windows:
      return self.patch_embed(pixels)
    if self.is_initializing():
      return self.window_stage(pixels, self.patch_embed)
    # Pure, as windows are embedded within a loop.
    embed = functools.partial(
      self.patch_embed.clone(parent=None).apply,
      {"params": self.patch_embed.variables["params"]},
    )
    return self.window_stage(pixels, embed)

  def encode(self, x: Tokens, rope: Rope) -> Tokens:
    """All tokens through all blocks and the final norm."""
    return self.norm(self.blocks.last_block(self.blocks.body(x, rope), rope))

  def encode_cls(self, x: Tokens, rope: Rope) -> Float[Array, "b d"]:
    """Only [cls]: the last block skips what nobody reads."""
    x = self.blocks.body(x, rope)
    return self.norm(self.blocks.last_block(x, rope, slice(0, 1)))[:, 0]

  def encode_views(
    self, x: Float[Array, "b v t d"], rope: Rope, num_dense: int
  ) -> tuple[Float[Array, "b g t d"], Float[Array, "b v d"]]:
    """Equal-length views of each image in one pass through the blocks.

    Args:
      x: tokens of v views an image.
      rope: positions (b, v, t, e).
      num_dense: how many views, from the first, are needed whole; of the
        others only [cls] leaves the last block.

    Returns:
      All tokens of the dense views, and [cls] of all views.
    """
    b, v, t, d = x.shape
    flat = jax.tree.map(lambda rows: rows.reshape(b * v, t, -1), rope)
    x = self.blocks.body(x.reshape(b * v, t, d), flat).reshape(b, v, t, d)

    def last(views: slice, queries: slice) -> Array:
      part, rows = jax.tree.map(
        lambda a: a[:, views].reshape(-1, t, a.shape[-1]), (x, rope)
      )
      out = self.blocks.last_block(part, rows, queries)
      return self.norm(out).reshape(b, -1, out.shape[1], d)

    whole = last(slice(0, num_dense), slice(None))
    if v == num_dense:
      return whole, whole[:, :, 0]
    cls = last(slice(num_dense, v), slice(0, 1))
    return whole, jnp.concatenate([whole[:, :, 0], cls[:, :, 0]], axis=1)

  def hidden(
    self, images: Images, layers: tuple[int, ...]
  ) -> tuple[Tokens, ...]:
    """All tokens after each of the blocks `layers`, before the final norm."""
    grid = self.grid(images.shape[1:3])
    x, rope = self.tokenize(self.patchify(images), grid)
    return self.blocks.hidden(x, rope, layers)
