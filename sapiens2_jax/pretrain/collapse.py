"""Numbers that tell whether features have collapsed."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def rank_me(features: Float[ArrayLike, "b d"], eps: float = 1e-7) -> Array:
  """Effective rank: exp of the entropy of the singular values.

  Between 1 (collapsed) and min(b, d). Source: arXiv 2210.02885. Singular
  values come from the Gram matrix of the shorter side.
  """
  x = features.astype(jnp.float32)
  gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
  singular = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram), 0.0))
  fraction = singular / (jnp.sum(singular) + eps) + eps
  return jnp.exp(-jnp.sum(fraction * jnp.log(fraction)))


def feature_std(features: Float[ArrayLike, "b d"]) -> Float[Array, ""]:
  """Mean standard deviation of L2-normalised features, times sqrt(d).

  About 1 for features spread over the sphere, 0 when collapsed.
  """
  x = features.astype(jnp.float32)
  x = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-12)
  return jnp.mean(jnp.std(x, axis=0)) * jnp.sqrt(jnp.float32(x.shape[-1]))
