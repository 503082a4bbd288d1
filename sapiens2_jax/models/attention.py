"""Grouped softmax attention."""

import einops
import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float


def attention(
  q: Float[Array, "b n h e"],
  k: Float[Array, "b m g e"],
  v: Float[Array, "b m g e"],
) -> Float[Array, "b n h e"]:
  """Attends from every query to all keys; softmax in float32.

  Args:
    q: queries, scaled by head_dim ** -0.5 here.
    k: keys; query head i uses key/value head floor(i / (h / g)).
    v: values.

  Raises:
    ValueError: if the key/value heads do not divide the query heads.
  """
  n, h, e = q.shape[1:]
  g = k.shape[2]
  if h % g:
    raise ValueError(f"{g} key/value heads must divide {h} query heads.")
  # Queries that share keys stand in one matrix: nothing is repeated. Heads go
  # in front explicitly, as XLA on CPU is slow at doing it inside an einsum.
  q = einops.rearrange(q * e**-0.5, "b n (g r) e -> b g (r n) e", g=g)
  k = einops.rearrange(k, "b m g e -> b g e m")
  v = einops.rearrange(v, "b m g e -> b g m e")
  logits = jnp.matmul(q, k, preferred_element_type=jnp.float32)
  weights = nn.softmax(logits, axis=-1).astype(v.dtype)
  return einops.rearrange(
    jnp.matmul(weights, v), "b g (r n) e -> b n (g r) e", n=n
  )
