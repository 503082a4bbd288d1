"""The masked-reconstruction decoder."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sapiens2_jax.models.block import BlockStack
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.models.layers import RMSNorm, dense, partitioned, weight_init
from sapiens2_jax.models.rope import rope_table


class DecoderOutput(NamedTuple):
  """Of the masked patches.

  Attributes:
    features: before the output layer, normalised.
    patches: predicted normalised pixels.
  """

  features: Float[Array, "b m d"]
  patches: Float[Array, "b m p"]


class Decoder(nn.Module):
  """Predicts the masked patches from the features of the visible ones.

  Positions travel with tokens, so the sequence is simply [visible, masked]:
  nothing is scattered back into the image's order, and the last block
  and the output layer run on the masked tokens alone.

  Attributes:
    patch_dim: predicted values of a token, `TokenGrid.output_dim`.

  Source: arXiv 2604.21681 (8 layers, width 512); the encoder's block
  without LayerScale, neither [cls] nor registers, number of heads: ours.
  """

  patch_dim: int
  embed_dim: int = 512
  num_layers: int = 8
  num_heads: int = 16
  rope_dtype: str = "float32"
  dtype: DTypeLike = jnp.float32
  scan: bool = True
  remat: str = "none"
  attention_backend: str = "auto"

  @nn.compact
  def __call__(
    self,
    features: Float[Array, "b n d"],
    visible_ids: Int[Array, "b n"],
    masked_ids: Int[Array, "b m"],
    grid: TokenGrid,
  ) -> DecoderOutput:
    """Predicts the patches `masked_ids` of a grid."""
    x = dense(self.embed_dim, ("embed", "mlp"), name="embed", dtype=self.dtype)(
      features
    )
    mask_token = self.param(
      "mask_token", partitioned(weight_init, None), (self.embed_dim,)
    )
    masked = jnp.broadcast_to(
      mask_token.astype(self.dtype), (*masked_ids.shape, self.embed_dim)
    )
    x = jnp.concatenate([x, masked], axis=1)
    head_dim = self.embed_dim // self.num_heads
    ids = jnp.concatenate([visible_ids, masked_ids], axis=1)
    rope = rope_table(grid.shape, head_dim, self.rope_dtype).take(ids)

    blocks = BlockStack(
      segments=((self.num_layers, self.num_heads),),
      embed_dim=self.embed_dim,
      num_heads=self.num_heads,
      hidden_dim=4 * self.embed_dim,
      layer_scale_init=None,
      rope_dtype=self.rope_dtype,
      dtype=self.dtype,
      scan=self.scan,
      remat=self.remat,
      attention_backend=self.attention_backend,
      name="blocks",
    )
    last = slice(visible_ids.shape[1], None)
    x = blocks.last_block(blocks.body(x, rope), rope, last)
    x = RMSNorm(name="norm", dtype=self.dtype)(x)
    predict = dense(
      self.patch_dim, ("embed", "mlp"), name="predict", dtype=self.dtype
    )
    return DecoderOutput(x, predict(x))
