"""JAX's splash kernel: attention on TPUs by a kernel that others maintain.

Slower here than `attention_kernel`, by the compiler's schedule, but it has run
on chips: what to compare with, and to fall back to. Sequences are padded to
multiples of 128, and the padding is another segment, which no query sees.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
from jaxtyping import Array, Float

from sapiens2_jax.models import partition
from sapiens2_jax.models.attention_kernel import (
  KERNEL_INPUT,
  KERNEL_RESIDUAL,
  LANES,
)

# Tiles of weights: a whole short sequence, or blocks of a long one, of which
# several lie beside its keys on the chip; fewer of them in the forward pass.
_WHOLE, _MAX_BLOCK, _MAX_FORWARD_KEYS = 896, 640, 1024


def block_sizes(num_queries: int, num_keys: int) -> splash.BlockSizes:
  """Tiles for padded lengths.

  Both kernels take all keys of a head at once: with several blocks of keys the
  forward kernel would rescale what it has for each, and the backward one write
  that many partial gradients of the queries.
  """
  block_q, block_kv = _block(num_queries), _block(num_keys)
  layout = splash.QKVLayout.SEQ_MINOR
  return splash.BlockSizes(
    block_q=block_q,
    block_kv=num_keys,
    block_kv_compute=_block(num_keys, _MAX_FORWARD_KEYS),
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
  sizes = range(LANES, min(size, largest) + 1, LANES)
  return max(block for block in sizes if size % block == 0)


def attend(
  q: Float[Array, "b h e n"],
  k: Float[Array, "b g e m"],
  v: Float[Array, "b g e m"],
  num_keys: int,
) -> Float[Array, "b h n e"]:
  """Attends from every query to the first `num_keys` keys.

  Args:
    q: queries, scaled.
    k: keys; query head i uses key/value head floor(i / (h / g)).
    v: values.
    num_keys: keys behind these are padding.
  """
  (_, h, _, n), m = q.shape, k.shape[3]
  padded_n, padded_m = (-(-size // LANES) * LANES for size in (n, m))

  def pad(x: Array, size: int) -> Array:
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, size - x.shape[3])))
    return checkpoint_name(jnp.swapaxes(x, 2, 3), KERNEL_INPUT)

  kernel = splash.make_splash_mha_single_device(
    masks.MultiHeadMask([masks.FullMask((padded_n, padded_m))] * h),
    block_sizes=block_sizes(padded_n, padded_m),
    residual_checkpoint_name=KERNEL_RESIDUAL,
    interpret=partition.platform() != "tpu",
  )
  segments = None
  if num_keys < padded_m:
    segments = splash.SegmentIds(
      jnp.zeros((padded_n,), jnp.int32),
      (jnp.arange(padded_m) >= num_keys).astype(jnp.int32),
    )
  attend_one = functools.partial(kernel, segment_ids=segments)
  keys, values = pad(k, padded_m), pad(v, padded_m)
  return jax.vmap(attend_one)(pad(q, padded_n), keys, values)[:, :, :n]
