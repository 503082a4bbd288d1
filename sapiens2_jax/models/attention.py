"""Grouped softmax attention, on the backend that suits the device."""

import functools
from collections.abc import Callable

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as splash_mask,
)
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models import cudnn, partition

_LANES = 128  # Sequences are padded to multiples of this for the TPU kernel.
# Tiles of weights: a whole short sequence, or blocks of a long one, of which
# several lie beside its keys on the chip; fewer of them in the forward pass.
_WHOLE, _MAX_BLOCK, _MAX_FORWARD_KEYS = 896, 640, 1024
_MASKED = -1e30

# Names of what the backward pass needs, for rematerialisation.
KERNEL_INPUT = "attention_input"
KERNEL_RESIDUAL = "attention_residual"


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
    backend: "xla", "splash" (TPU), "cudnn" (GPU) or "auto": what suits the
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
    return "splash", "the Pallas kernel of TPUs"
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


def _cudnn(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  """The kernel of cuDNN; never writes the matrix of weights."""
  if q.shape[3] < _LANES:  # [cls] alone: its row of weights is small.
    return _xla(q, k, v, num_keys)
  return _on_each_device(cudnn.attend, num_keys)(q, k, v)


def _on_each_device(function: Callable, num_keys: int) -> Callable:
  """Devices share sequences, heads and queries; all hold the keys they need."""
  names = ("batch", "heads", None)
  return partition.on_each_device(
    functools.partial(function, num_keys=num_keys),
    ((*names, "tokens"), (*names, None), (*names, None)),
    ("batch", "heads", "tokens", None),
  )


def block_sizes(num_queries: int, num_keys: int) -> splash.BlockSizes:
  """Tiles of the TPU kernel for padded lengths.

  Both kernels take all keys of a head at once: with several blocks of keys the
  forward kernel would rescale what it has for each (46 % instead of 79 % of
  the peak at 3200, by the compiler's schedule for v5p), and the backward one
  write that many partial gradients of the queries.
  """
  block_q, block_kv = _block(num_queries), _block(num_keys)
  forward_kv = _block(num_keys, _MAX_FORWARD_KEYS)
  layout = splash.QKVLayout.SEQ_MINOR
  return splash.BlockSizes(
    block_q=block_q,
    block_kv=num_keys,
    block_kv_compute=forward_kv,
    block_q_dkv=block_q,
    block_kv_dkv=num_keys,
    block_kv_dkv_compute=block_kv,
    use_fused_bwd_kernel=True,
    q_layout=layout,
    k_layout=layout,
    v_layout=layout,
  )


def _block(size: int, largest: int = _MAX_BLOCK) -> int:
  """The largest multiple of 128 that divides `size` and is not too large."""
  largest = _WHOLE if size <= _WHOLE else largest
  sizes = range(_LANES, min(size, largest) + 1, _LANES)
  return max(block for block in sizes if size % block == 0)


def padded_length(num_tokens: int) -> int:
  """Length that the TPU kernel works on."""
  return -(-num_tokens // _LANES) * _LANES


def _splash(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  """A maintained Pallas kernel; never writes the matrix of weights."""
  if q.shape[3] < _LANES:  # [cls] alone: its row of weights is small.
    return _xla(q, k, v, num_keys)
  return _on_each_device(_splash_on_device, num_keys)(q, k, v)


def _splash_on_device(q: Array, k: Array, v: Array, num_keys: int) -> Array:
  (_, h, _, n), m = q.shape, k.shape[3]
  padded_n, padded_m = padded_length(n), padded_length(m)

  def pad(x: Array, size: int) -> Array:
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, size - x.shape[3])))
    return checkpoint_name(jnp.swapaxes(x, 2, 3), KERNEL_INPUT)

  kernel = splash.make_splash_mha_single_device(
    splash_mask.MultiHeadMask([splash_mask.FullMask((padded_n, padded_m))] * h),
    block_sizes=block_sizes(padded_n, padded_m),
    residual_checkpoint_name=KERNEL_RESIDUAL,
    interpret=partition.platform() != "tpu",
  )
  segments = None
  if num_keys < padded_m:  # Padding is another segment, which no query sees.
    segments = splash.SegmentIds(
      jnp.zeros((padded_n,), jnp.int32),
      (jnp.arange(padded_m) >= num_keys).astype(jnp.int32),
    )
  attend = functools.partial(kernel, segment_ids=segments)
  out = jax.vmap(attend)(pad(q, padded_n), pad(k, padded_m), pad(v, padded_m))
  return out[:, :, :n]


BACKENDS = {"xla": _xla, "splash": _splash, "cudnn": _cudnn}
