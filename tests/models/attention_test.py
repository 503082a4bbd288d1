"""Every backend computes the same attention."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models import attention_kernel
from sapiens2_jax.models.attention import attention, choose_backend
from sapiens2_jax.models.attention_kernel import query_block


def draw(heads, kv_heads, head_dim, queries, keys, batch=1):
  """Queries, keys and values as the model makes them, float32."""
  rng = np.random.default_rng(0)
  shapes = [
    (batch, h, head_dim, n)
    for h, n in ((heads, queries), (kv_heads, keys), (kv_heads, keys))
  ]
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def with_gradients(backend, num_keys, q, k, v):
  """Output, and gradients of a function that weighs every value apart."""

  def loss(q, k, v):
    out = attention(q, k, v, num_keys=num_keys, backend=backend)
    weights = jnp.cos(jnp.arange(out.size)).reshape(out.shape)
    return jnp.sum(weights * out.astype(jnp.float32)), out

  grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
  grads, out = jax.jit(grad)(q, k, v)
  return out, grads


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_attention_agrees_with_a_loop_over_heads(groups):
  q, k, v = draw(4, groups, 8, 5, 7, batch=2)
  out = attention(q, k, v, num_keys=6, backend="xla")
  for head in range(4):
    shared = head // (4 // groups)
    scores = np.einsum("ben,bem->bnm", q[:, head], k[:, shared, :, :6])
    weights = np.exp(scores / 8**0.5)
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bnm,bem->bne", weights, v[:, shared, :, :6])
    np.testing.assert_allclose(out[:, head], expected, atol=1e-5)


# Head widths of toy's decoder, 0.1b-1b, 5b, 0.8b and the decoder; lengths
# with and without padding, and with more than one block of keys.
@pytest.mark.parametrize(
  ("head_dim", "heads", "kv_heads", "queries", "keys", "num_keys"),
  [
    (16, 2, 1, 128, 128, 128),
    (64, 4, 2, 200, 200, 200),
    (76, 2, 1, 150, 150, 131),
    (80, 2, 2, 128, 300, 256),
    (32, 2, 2, 256, 256, 256),
    (64, 2, 1, 777, 777, 777),
  ],
)
@pytest.mark.parametrize("backend", ["pallas", "splash", "cudnn"])
def test_kernels_agree_with_xla(
  backend, head_dim, heads, kv_heads, queries, keys, num_keys
):
  arrays = draw(heads, kv_heads, head_dim, queries, keys)
  found = with_gradients(backend, num_keys, *arrays)
  expected = with_gradients("xla", num_keys, *arrays)
  chex.assert_trees_all_close(found, expected, atol=2e-5, rtol=2e-4)


def test_blocks_past_the_end_change_nothing(monkeypatch):
  for kind in attention_kernel.MOST_WEIGHTS:
    monkeypatch.setitem(attention_kernel.MOST_WEIGHTS, kind, 2 * 128 * 256)
  arrays = draw(4, 2, 24, 300, 200, batch=2)  # two blocks of 256 queries
  found = with_gradients("pallas", 150, *arrays)
  expected = with_gradients("xla", 150, *arrays)
  chex.assert_trees_all_close(found, expected, atol=2e-5, rtol=2e-4)


def test_padding_gets_no_gradient():
  q, k, v = draw(2, 1, 16, 130, 140)
  for backend in ("xla", "pallas", "splash", "cudnn"):
    _, (_, dk, dv) = with_gradients(backend, 135, q, k, v)
    assert not np.any(dk[..., 135:]) and not np.any(dv[..., 135:])
    assert np.any(dk[..., :135])


@pytest.mark.parametrize(
  ("kind", "queries", "keys", "size"),
  [
    ("backward", 777, 777, 896),  # at once
    ("forward", 3081, 3081, 640),  # 25 tiles of 128 in 5 blocks
    ("backward", 3081, 3081, 256),  # in 13, the last one half full
    ("backward", 2304, 3072, 256),
    ("forward", 128, 100_000, 128),  # one tile at least
  ],
)
def test_blocks_of_queries_waste_little(kind, queries, keys, size):
  assert query_block(kind, queries, keys) == size


def test_few_queries_need_no_kernel():
  q, k, v = draw(2, 1, 16, 1, 200)
  text = jax.jit(functools.partial(attention, backend="pallas")).lower(q, k, v)
  assert "pallas" not in text.as_text() and "while" not in text.as_text()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"backend": "palas"}, "did you mean pallas"),
    ({"num_keys": 8}, r"num_keys=8 is not in \[1, 7\]"),
    ({"num_keys": 0}, r"num_keys=0 is not in"),
  ],
)
def test_mistakes_are_named(change, message):
  with pytest.raises(ValueError, match=message):
    attention(*draw(2, 1, 8, 5, 7), **change)


def test_heads_must_be_divided():
  with pytest.raises(ValueError, match="3 key/value heads must divide 4"):
    attention(*draw(4, 3, 8, 5, 7))


@pytest.mark.parametrize(
  ("platform", "dtype", "head_dim", "capability", "backend", "reason"),
  [
    ("tpu", "bfloat16", 76, None, "pallas", "TPUs"),
    ("tpu", "float32", 64, None, "pallas", "TPUs"),
    ("gpu", "bfloat16", 64, "8.0", "cudnn", "cuDNN knows"),
    ("gpu", "bfloat16", 76, "9.0", "cudnn", "cuDNN knows"),
    ("gpu", "bfloat16", 80, "12.0", "cudnn", "cuDNN knows"),
    ("gpu", "bfloat16", 256, "9.0", "cudnn", "cuDNN knows"),
    ("gpu", "bfloat16", 64, None, "cudnn", "cuDNN knows"),
    ("gpu", "bfloat16", 136, "8.9", "xla", "up to 128 here, not 136"),
    ("gpu", "bfloat16", 64, "7.5", "xla", "capability 8.0, this is 7.5"),
    ("gpu", "bfloat16", 64, "gfx942", "xla", "gfx942 is no GPU of NVIDIA's"),
    ("gpu", "float32", 64, "9.0", "xla", "16-bit numbers, not float32"),
    ("cpu", "bfloat16", 64, None, "xla", "no kernel for cpu"),
  ],
)
def test_auto_takes_what_the_platform_can_do_and_says_why(
  platform, dtype, head_dim, capability, backend, reason
):
  found = choose_backend(platform, jnp.dtype(dtype), head_dim, capability)
  assert found[0] == backend and reason in found[1]
