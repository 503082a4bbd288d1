"""Softmax attention as two TPU kernels, forward and backward.

Made for what this model has: no causal mask, few enough keys for all of them to
lie on the chip, heads narrower than a matrix unit, and tokens last. Weights
are computed as (keys, queries), so that

- queries, keys and values enter the products as they lie in memory;
- reductions over keys run over rows, which is cheap, and the logarithms of
  sums lie in lanes, where queries lie;
- in products with values and gradients the weights stay in the matrix unit and
  a head's few rows stream past them, beside which the next products run.

Nothing is padded in memory: a block that reaches past the end of an array is
masked here.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from sapiens2_jax.models import partition

LANES = 128
# Names of what the backward pass needs, for rematerialisation.
KERNEL_INPUT = "attention_input"
KERNEL_RESIDUAL = "attention_residual"
# Weights of a block, (keys, queries): as many as lie on the chip, with their
# gradients in the backward pass.
MOST_WEIGHTS = {"forward": 2**21, "backward": 2**20}
_VMEM_BYTES = 48 * 2**20
_MASKED = -1e30
_LOG2_E = math.log2(math.e)


def _round_up(size: int) -> int:
  return pl.cdiv(size, LANES) * LANES


def query_block(kind: str, num_queries: int, num_keys: int) -> int:
  """Queries of a block: a multiple of `LANES` that wastes least.

  A block costs about as much as 256 more queries would, by the compiler's
  schedule.

  Args:
    kind: of kernel, "forward" or "backward".
    num_queries, num_keys: of a head.
  """
  tiles = pl.cdiv(num_queries, LANES)
  most = max(1, min(tiles, MOST_WEIGHTS[kind] // _round_up(num_keys) // LANES))
  sizes = range(1, most + 1)
  return LANES * min(sizes, key=lambda t: pl.cdiv(tiles, t) * (t + 2))


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
  """Contracts one axis of each matrix; float32."""
  dims = (((axis_a,), (axis_b,)), ((), ()))
  return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _keep_first(x: Array, count: int, axis: int, other: float = 0) -> Array:
  """Replaces what lies behind the first `count`; the rest costs nothing."""
  start = count // LANES * LANES
  if start == x.shape[axis]:
    return x
  tail = lax.slice_in_dim(x, start, None, axis=axis)
  index = start + lax.broadcasted_iota(jnp.int32, tail.shape, axis)
  tail = jnp.where(index < count, tail, jnp.asarray(other, x.dtype))
  if not start:
    return tail
  return jnp.concatenate([lax.slice_in_dim(x, 0, start, axis=axis), tail], axis)


def _keep_queries(x: Array, count: int) -> Array:
  """Zeroes the queries of a block that lie behind the end of the array."""
  if count % x.shape[1] == 0:
    return x
  start = pl.program_id(2) * x.shape[1]
  index = start + lax.broadcasted_iota(jnp.int32, x.shape, 1)
  return jnp.where(index < count, x, jnp.zeros_like(x))


def _in_bits(q: Array) -> Array:
  """Queries whose scores are exponents of 2: a unit computes no other power.

  Otherwise each weight would cost a multiplication.
  """
  return (q.astype(jnp.float32) * _LOG2_E).astype(q.dtype)


def _forward_kernel(q_ref, k_ref, v_ref, out_ref, lse_ref, *, num_keys: int):
  k, v = (_keep_first(ref[...], num_keys, 1) for ref in (k_ref, v_ref))
  scores = _dot(k, _in_bits(q_ref[...]), 0, 0)
  scores = _keep_first(scores, num_keys, 0, _MASKED)
  largest = jnp.max(scores, axis=0, keepdims=True)
  weights = jnp.exp2(scores - largest)
  total = jnp.sum(weights, axis=0, keepdims=True)
  out = _dot(v, weights.astype(v.dtype), 1, 0)
  out_ref[...] = (out / total).astype(out_ref.dtype)
  lse_ref[...] = largest + jnp.log2(total)


def _backward_kernel(
  q_ref,
  k_ref,
  v_ref,
  out_ref,
  lse_ref,
  grad_ref,
  dq_ref,
  dk_ref,
  dv_ref,
  dk_sum,
  dv_sum,
  *,
  num_queries: int,
  num_keys: int,
  heads_per_group: int,
):
  head, block = pl.program_id(1) % heads_per_group, pl.program_id(2)

  @pl.when((head == 0) & (block == 0))
  def _():
    dk_sum[...] = jnp.zeros_like(dk_sum)
    dv_sum[...] = jnp.zeros_like(dv_sum)

  q, out, lse, grad = (
    _keep_queries(ref[...], num_queries)
    for ref in (q_ref, out_ref, lse_ref, grad_ref)
  )
  k, v = (_keep_first(ref[...], num_keys, 1) for ref in (k_ref, v_ref))
  weights = jnp.exp2(_dot(k, _in_bits(q), 0, 0) - lse)
  weights = _keep_first(weights, num_keys, 0)
  # What the softmax takes off: the mean of the weights' gradients.
  mean = out.astype(jnp.float32) * grad.astype(jnp.float32)
  mean = jnp.sum(mean, axis=0, keepdims=True)
  dscores = (weights * (_dot(v, grad, 0, 0) - mean)).astype(q.dtype)
  dv_sum[...] += _dot(grad, weights.astype(q.dtype), 1, 1)
  dk_sum[...] += _dot(q, dscores, 1, 1)
  dq_ref[...] = _dot(k, dscores, 1, 0).astype(dq_ref.dtype)

  is_last_block = block == pl.num_programs(2) - 1

  @pl.when((head == heads_per_group - 1) & is_last_block)
  def _():
    dk_ref[...] = dk_sum[...].astype(dk_ref.dtype)
    dv_ref[...] = dv_sum[...].astype(dv_ref.dtype)


def _specs(kind: str, q: Array, k: Array):
  """Grid; blocks of queries, of all keys, and of one row for each query."""
  b, h, e, n = q.shape
  m, ratio = k.shape[3], h // k.shape[1]
  size = query_block(kind, n, m)

  def queries(rows: int) -> pl.BlockSpec:
    shape = (None, None, rows, size)
    return pl.BlockSpec(shape, lambda b, h, i: (b, h, 0, i))

  keys = pl.BlockSpec(
    (None, None, e, _round_up(m)), lambda b, h, i: (b, h // ratio, 0, 0)
  )
  return (b, h, pl.cdiv(n, size)), queries(e), keys, queries(1)


def _call(kernel, name: str, semantics: tuple[str, ...], **settings):
  return pl.pallas_call(
    kernel,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=semantics, vmem_limit_bytes=_VMEM_BYTES
    ),
    interpret=partition.platform() != "tpu",
    name=name,
    **settings,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
  q: Float[Array, "b h e n"],
  k: Float[Array, "b g e m"],
  v: Float[Array, "b g e m"],
  num_keys: int,
) -> Float[Array, "b h e n"]:
  """Attends from every query to the first `num_keys` keys.

  Args:
    q: queries, scaled.
    k: keys; query head i uses key/value head floor(i / (h / g)).
    v: values.
    num_keys: keys behind these are padding.
  """
  return _forward(q, k, v, num_keys)[0]


def _forward(q: Array, k: Array, v: Array, num_keys: int):
  q, k, v = (checkpoint_name(x, KERNEL_INPUT) for x in (q, k, v))
  grid, queries, keys, row = _specs("forward", q, k)
  out, lse = _call(
    functools.partial(_forward_kernel, num_keys=num_keys),
    "attention_forward",
    ("parallel",) * 3,
    grid=grid,
    in_specs=[queries, keys, keys],
    out_specs=[queries, row],
    out_shape=[
      jax.ShapeDtypeStruct(q.shape, q.dtype),
      jax.ShapeDtypeStruct((*q.shape[:2], 1, q.shape[3]), jnp.float32),
    ],
  )(q, k, v)
  out, lse = (checkpoint_name(x, KERNEL_RESIDUAL) for x in (out, lse))
  return out, (q, k, v, out, lse)


def _backward(num_keys: int, residuals: tuple, grad: Array):
  q, k, v, _, _ = residuals
  grid, queries, keys, row = _specs("backward", q, k)
  kernel = functools.partial(
    _backward_kernel,
    num_queries=q.shape[3],
    num_keys=num_keys,
    heads_per_group=q.shape[1] // k.shape[1],
  )
  total = pltpu.VMEM((q.shape[2], _round_up(k.shape[3])), jnp.float32)
  return _call(
    kernel,
    "attention_backward",
    # Gradients of keys and values add up over heads and blocks of queries.
    ("parallel", "arbitrary", "arbitrary"),
    grid=grid,
    in_specs=[queries, keys, keys, queries, row, queries],
    out_specs=[queries, keys, keys],
    out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v)],
    scratch_shapes=[total, total],
  )(*residuals, grad)


attend.defvjp(_forward, _backward)
