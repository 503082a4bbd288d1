"""From [cls] to prototype logits."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax.models import partition
from sapiens2_jax.models.layers import dense, normalize_features


class ProjectionHead(nn.Module):
  """MLP of three layers, L2 normalisation, prototypes without bias.

  Source: DINOv3 (arXiv 2508.10104), exact GELU, normalisation eps 1e-12.
  """

  num_prototypes: int = 65536
  hidden_dim: int = 2048
  bottleneck_dim: int = 256
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "*b d"]) -> Float[Array, "*b k"]:
    """Returns logits in float32, not yet divided by a temperature."""
    for i, names in enumerate((("embed", "mlp"), ("mlp", "embed"))):
      layer = dense(self.hidden_dim, names, name=f"mlp_{i}", dtype=self.dtype)
      x = nn.gelu(layer(x), approximate=False)
    x = dense(
      self.bottleneck_dim, ("embed", None), name="mlp_2", dtype=self.dtype
    )(x)
    prototypes = dense(
      self.num_prototypes,
      ("embed", "prototypes"),
      name="prototypes",
      dtype=self.dtype,
      use_bias=False,
    )
    x = normalize_features(x).astype(self.dtype)
    logits = prototypes(x).astype(jnp.float32)
    middle = (None,) * (logits.ndim - 2)
    return partition.constrain(logits, "batch", *middle, "prototypes")
