"""Grouped softmax attention, on the backend that suits the device."""

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models import attention_kernel as kernel
from sapiens2_jax.models import partition
from sapiens2_jax.models.attention_kernel import KERNEL_INPUT

_MASKED = -1e30


def attention(
  q: Float[Array, "b h e n"],
  k: Float[Array, "b g e m"],
  v: Float[Array, "b g e m"],
  *,
  num_keys: int | None = None,
  backend: str = "auto",
) -> Float[Array, "b h n e"]:
  """Attends from every query to the first `num_keys` keys.

  Tokens come last: a head's width fills only a part of the lanes of a TPU, or
  of a cache line. Softmax is in float32.

  Args:
    q: queries, scaled by head_dim ** -0.5 here.
    k: keys; query head i uses key/value head floor(i / (h / g)).
    v: values.
    num_keys: keys behind these are padding; all, if None.
    backend: "xla", "pallas" (TPU), "cudnn" (GPU) or "auto": what suits the
      devices that the program is compiled for.

  Raises:
    ValueError: the key/value heads do not divide the query heads, num_keys is
      not in [1, m], or there is no such backend.
  """
  h, g, m = q.shape[1], k.shape[1], k.shape[3]
  if h % g:
    raise ValueError(f"{g} key/value heads must divide {h} query heads.")
  num_keys = m if num_keys is None else num_keys
  if not 1 <= num_keys <= m:
    raise ValueError(f"num_keys={num_keys} is not in [1, {m}].")
  if backend == "auto":
    backend = choose_backend(partition.platform(), q.dtype, q.shape[2])
  function = errors.lookup(BACKENDS, backend, "attention backend")
  return function(q * q.shape[2] ** -0.5, k, v, num_keys)


def choose_backend(platform: str, dtype: jnp.dtype, head_dim: int) -> str:
  """What "auto" stands for.

  cuDNN takes 16-bit numbers and heads of a multiple of 8: not those of 5b.
  """
  if platform == "tpu":
    return "pallas"
  if platform == "gpu" and dtype.itemsize == 2 and head_dim % 8 == 0:
    return "cudnn"
  return "xla"


def _xla(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  """Writes the whole matrix of weights; runs anywhere."""
  q, k, v = (checkpoint_name(x, KERNEL_INPUT) for x in (q, k, v))
  g, n = k.shape[1], q.shape[3]
  # Queries that share keys stand in one matrix: nothing is repeated.
  q = einops.rearrange(q, "b (g r) e n -> b g (r n) e", g=g)
  logits = jnp.matmul(q, k, preferred_element_type=jnp.float32)
  if num_keys < k.shape[3]:
    is_key = jnp.arange(k.shape[3]) < num_keys
    logits = jnp.where(is_key, logits, _MASKED)
  weights = nn.softmax(logits, axis=-1).astype(v.dtype)
  out = jnp.matmul(weights, einops.rearrange(v, "b g e m -> b g m e"))
  return einops.rearrange(out, "b g (r n) e -> b (g r) n e", n=n)


def _cudnn(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  q, k, v = (
    checkpoint_name(einops.rearrange(x, "b h e n -> b n h e"), KERNEL_INPUT)
    for x in (q, k, v)
  )
  lengths = jnp.full((len(q),), num_keys, jnp.int32)
  out = jax.nn.dot_product_attention(
    q,
    k,
    v,
    scale=1.0,
    key_value_seq_lengths=lengths if num_keys < k.shape[1] else None,
    implementation="cudnn",
  )
  return einops.rearrange(out, "b n h e -> b h n e")


def _pallas(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  """Our kernel for TPUs; never writes the matrix of weights."""
  if q.shape[3] < kernel.LANES:  # [cls] alone: its row of weights is small.
    return _xla(q, k, v, num_keys)
  names = ("batch", "heads", None)
  tokens = (*names, "tokens")
  out = partition.on_each_device(
    lambda q, k, v: kernel.attend(q, k, v, num_keys),
    (tokens, (*names, None), (*names, None)),
    tokens,
  )(q, k, v)
  return jnp.swapaxes(out, 2, 3)


BACKENDS = {"xla": _xla, "pallas": _pallas, "cudnn": _cudnn}
