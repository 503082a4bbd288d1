"""Dense, RMSNorm and their initial values, shared by every module.

Logical axis names stand beside each parameter; `parallel.rules` maps them to
mesh axes.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

# Source: backbone of Sapiens2, initialisation. The reference cuts at the
# absolute values -2 and 2, so a standard deviation of 0.02 is not truncated.
# Traced once for a shape: Flax asks for the shape at each call of a module.
weight_init = jax.jit(
  nn.initializers.normal(stddev=0.02), static_argnums=(1, 2)
)
NORM_EPS = 1e-6


def partitioned(init: Callable, *names: str | None) -> Callable:
  """Attaches logical axis names to what `init` returns."""
  return nn.with_logical_partitioning(init, names)


def dense(
  features: int,
  names: tuple[str | None, str | None],
  *,
  name: str | None = None,
  dtype: DTypeLike,
  use_bias: bool = True,
) -> nn.Dense:
  """A linear layer whose kernel (in, out) has the logical axes `names`."""
  return nn.Dense(
    features,
    use_bias=use_bias,
    dtype=dtype,
    kernel_init=partitioned(weight_init, *names),
    bias_init=partitioned(nn.initializers.zeros, names[1]),
    name=name,
  )


def normalize_features(
  x: Float[ArrayLike, "*b d"], eps: float = 1e-12
) -> Float[Array, "*b d"]:
  """x / max(|x|, eps) in float32, with a finite gradient at zero."""
  x = x.astype(jnp.float32)
  norm_square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * lax.rsqrt(jnp.maximum(norm_square, eps**2))


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + 1e-6) * scale over one axis.

  All in float32 with one rounding at the end, as the reference does for half
  precision.

  Attributes:
    dtype: of the result.
    axis: that is normalised, from the end.
  """

  dtype: DTypeLike = jnp.float32
  axis: int = -1

  @nn.compact
  def __call__(self, x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    scale = self.param(
      "scale", partitioned(nn.initializers.ones, None), (x.shape[self.axis],)
    )
    scale = scale.reshape(-1, *(1,) * (-1 - self.axis))
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(x * x, axis=self.axis, keepdims=True)
    return (x * (lax.rsqrt(mean_square + NORM_EPS) * scale)).astype(self.dtype)


class HeadProjection(nn.Module):
  """A linear layer to heads, tokens last; kernel (in, heads * head_dim)."""

  num_heads: int
  head_dim: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b h e n"]:
    shape = (self.num_heads, self.head_dim)
    features = self.num_heads * self.head_dim
    kernel = self.param(
      "kernel",
      partitioned(weight_init, "embed", "heads"),
      (x.shape[-1], features),
    )
    bias = self.param(
      "bias", partitioned(nn.initializers.zeros, "heads"), (features,)
    )
    kernel = kernel.astype(self.dtype).reshape(-1, *shape)
    bias = bias.astype(self.dtype).reshape(*shape, 1)
    return jnp.einsum("bnd,dhe->bhen", x, kernel) + bias


class HeadMerge(nn.Module):
  """A linear layer from all heads; kernel (heads * head_dim, out)."""

  features: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b h n e"]) -> Float[Array, "b n d"]:
    _, h, _, e = x.shape
    kernel = self.param(
      "kernel",
      partitioned(weight_init, "heads", "embed"),
      (h * e, self.features),
    )
    bias = self.param(
      "bias", partitioned(nn.initializers.zeros, "embed"), (self.features,)
    )
    # Without a transpose of x: a TPU would write it out twice.
    kernel = kernel.astype(self.dtype).reshape(h, e, -1)
    return jnp.einsum("bhne,hed->bnd", x, kernel) + bias.astype(self.dtype)
