"""Dense, RMSNorm and their initial values, shared by every module.

Logical axis names stand beside each parameter; `parallel.rules` maps them to
mesh axes.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# Source: backbone of Sapiens2, initialisation. The reference cuts at the
# absolute values -2 and 2, so a standard deviation of 0.02 is not truncated.
weight_init = nn.initializers.normal(stddev=0.02)
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


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + 1e-6) * scale over the last axis.

  All in float32 with one rounding at the end, as the reference does for half
  precision.
  """

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    scale = self.param(
      "scale", partitioned(nn.initializers.ones, None), (x.shape[-1],)
    )
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    return (x * (lax.rsqrt(mean_square + NORM_EPS) * scale)).astype(self.dtype)
