"""Grouped softmax attention, on the backend that suits the device."""

import functools
from collections.abc import Callable

import einops
import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models import attention_kernel as kernel
from sapiens2_jax.models import cudnn, partition, splash
from sapiens2_jax.models.attention_kernel import KERNEL_INPUT, LANES

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
    backend: "xla", "pallas" (our kernel for TPUs), "splash" (JAX's for TPUs),
      "cudnn" (GPU) or "auto": what suits the devices that the program is
      compiled for.

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
    backend, _ = choose_backend(
      partition.platform(), q.dtype, q.shape[2], partition.compute_capability()
    )
  function = errors.lookup(BACKENDS, backend, "attention backend")
  return function(q * q.shape[2] ** -0.5, k, v, num_keys)


def choose_backend(
  platform: str, dtype: DTypeLike, head_dim: int, capability: str | None
) -> tuple[str, str]:
  """What "auto" stands for, and why.

  Args:
    platform: "tpu", "gpu" or "cpu".
    dtype: of queries, keys and values.
    head_dim: width of a head.
    capability: of the GPU, e.g. "9.0"; None if there is none to ask.
  """
  if platform == "tpu":
    return "pallas", "our kernel for TPUs"
  if platform != "gpu":
    return "xla", f"no kernel for {platform}"
  reason = cudnn.refusal(dtype, head_dim, capability)
  return ("xla", reason) if reason else ("cudnn", "a GPU that cuDNN knows")


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


def _by_kernel(attend: Callable) -> Callable:
  """A backend whose kernel never writes the matrix of weights.

  Devices share sequences, heads and queries; all hold the keys they need.
  """
  names = ("batch", "heads", None)

  def run(q: Array, k: Array, v: Array, num_keys: int) -> Array:
    if q.shape[3] < LANES:  # [cls] alone: its row of weights is small.
      return _xla(q, k, v, num_keys)
    return partition.on_each_device(
      functools.partial(attend, num_keys=num_keys),
      ((*names, "tokens"), (*names, None), (*names, None)),
      ("batch", "heads", "tokens", None),
    )(q, k, v)

  return run


def _attend_on_tpu(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  return jnp.swapaxes(kernel.attend(q, k, v, num_keys), 2, 3)


BACKENDS = {
  "xla": _xla,
  "pallas": _by_kernel(_attend_on_tpu),
  "splash": _by_kernel(splash.attend),
  "cudnn": _by_kernel(cudnn.attend),
}
