"""cuDNN's attention kernel: what it takes, and what is padded for it.

It takes 16-bit numbers and heads of a multiple of 8, of at most 128, on GPUs of
compute capability 8.0 (Ampere) and later; on 9.x (Hopper) of at most 256.
Key/value heads may be shared, lengths are free. JAX, though, refuses odd
lengths when a gradient is wanted (0.10.2), so that one token is added to them.

Source: docs.nvidia.com/deeplearning/cudnn, "Attention" (support matrix of
cuDNN 9.18); jax/_src/cudnn/fused_attention_stablehlo.py.
"""

import re

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sapiens2_jax.models import partition

_HEAD_MULTIPLE, _LENGTH_MULTIPLE = 8, 2
_OLDEST, _HOPPER = 8, 9  # major compute capabilities

# Name of what the backward pass needs, for rematerialisation.
RESIDUAL = "cudnn_residual"


def refusal(dtype: DTypeLike, head_dim: int, capability: str | None) -> str:
  """Why the kernel cannot be used, "" if it can.

  Args:
    dtype: of queries, keys and values.
    head_dim: width of a head.
    capability: of the GPU, e.g. "9.0"; None if there is no GPU to ask.
  """
  dtype = jnp.dtype(dtype)
  if dtype.itemsize != 2:
    return f"cuDNN takes 16-bit numbers, not {dtype.name}"
  version = re.fullmatch(r"(\d+)\.\d+", capability or f"{_OLDEST}.0")
  if version is None:
    return f"{capability} is no GPU of NVIDIA's"
  major = int(version[1])
  if major < _OLDEST:
    return f"cuDNN needs compute capability {_OLDEST}.0, this is {capability}"
  widest = 256 if major == _HOPPER else 128
  if head_dim > widest:
    return f"cuDNN takes heads of up to {widest} here, not {head_dim}"
  return ""


def attend(
  q: Float[Array, "b h e n"],
  k: Float[Array, "b g e m"],
  v: Float[Array, "b g e m"],
  num_keys: int,
) -> Float[Array, "b h n e"]:
  """Attention of scaled queries to the first `num_keys` keys.

  Where there is no GPU, XLA computes the same, padding included.
  """
  e, n = q.shape[2:]
  out = kernel(*map(_pad, (q, k, v)), _lengths(k, num_keys))
  return jnp.swapaxes(out[:, :n, :, :e], 1, 2)


def _pad(x: Array) -> Array:
  """(b, h, e, n) -> (b, n, h, e), zeros added to n and e."""
  e, n = x.shape[2:]
  extra = ((0, -e % _HEAD_MULTIPLE), (0, -n % _LENGTH_MULTIPLE))
  x = jnp.pad(x, ((0, 0), (0, 0), *extra))
  return jnp.transpose(x, (0, 3, 1, 2))


def _lengths(k: Array, num_keys: int) -> Int[Array, " b"] | None:
  """How many keys of a sequence count; None if all do, padding included."""
  b, padded = k.shape[0], k.shape[3] + -k.shape[3] % _LENGTH_MULTIPLE
  return None if num_keys == padded else jnp.full((b,), num_keys, jnp.int32)


def _call(q: Array, k: Array, v: Array, lengths: Array | None) -> Array:
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    scale=1.0,
    key_value_seq_lengths=lengths,
    implementation="cudnn" if partition.platform() == "gpu" else "xla",
  )


@jax.custom_vjp
def kernel(
  q: Float[Array, "b n h e"],
  k: Float[Array, "b m g e"],
  v: Float[Array, "b m g e"],
  lengths: Int[Array, " b"] | None,
) -> Float[Array, "b n h e"]:
  """The kernel, with names for what its gradient needs."""
  return _call(q, k, v, lengths)


def _forward(q: Array, k: Array, v: Array, lengths: Array | None):
  out, backward = jax.vjp(lambda *x: _call(*x, lengths), q, k, v)
  # Queries, keys, values, output, and the logarithm of each row's sum.
  return out, jax.tree.map(name_residual, backward)


def name_residual(x: Array) -> Array:
  """For policies of rematerialisation that keep what has this name."""
  return checkpoint_name(x, RESIDUAL)


def _backward(backward, gradient: Array):
  return *backward(gradient), None


kernel.defvjp(_forward, _backward)
