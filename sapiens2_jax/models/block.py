"""The transformer block of encoder and decoder, and stacks of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models import rope as rope_lib
from sapiens2_jax.models.attention import attention
from sapiens2_jax.models.layers import (
  RMSNorm,
  dense,
  partitioned,
  weight_init,
)

Rope = rope_lib.Rope

REMAT_POLICIES = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class SwiGLU(nn.Module):
  """silu(x W_gate + b) * (x W_up + b), projected back; with biases."""

  hidden_dim: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    # One array for both halves, so that either can be sharded over `mlp`.
    embed_dim = x.shape[-1]
    shape = (embed_dim, 2, self.hidden_dim)
    kernel = self.param(
      "w12", partitioned(weight_init, "embed", None, "mlp"), shape
    )
    bias = self.param(
      "b12", partitioned(nn.initializers.zeros, None, "mlp"), shape[1:]
    )
    kernel = kernel.astype(self.dtype)
    gate = x @ kernel[:, 0] + bias[0].astype(self.dtype)
    up = x @ kernel[:, 1] + bias[1].astype(self.dtype)
    out = dense(embed_dim, ("mlp", "embed"), name="w3", dtype=self.dtype)
    return out(nn.silu(gate) * up)


class Attention(nn.Module):
  """Self-attention with grouped heads, QK-norm and rotary positions."""

  num_heads: int
  num_kv_heads: int
  rope_dtype: str
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "b n d"], rope: Rope, queries: slice
  ) -> Float[Array, "b q d"]:
    embed_dim = x.shape[-1]
    head_dim = embed_dim // self.num_heads

    def heads(name: str, inputs: Array, num_heads: int) -> Array:
      layer = dense(
        num_heads * head_dim, ("embed", "heads"), name=name, dtype=self.dtype
      )
      return layer(inputs).reshape(*inputs.shape[:-1], num_heads, head_dim)

    def rotate(name: str, inputs: Array, rows: Rope) -> Array:
      # Norm before rotation, shared by all heads. Source: backbone spec.
      inputs = RMSNorm(name=name, dtype=self.dtype)(inputs)
      return rope_lib.apply_rope(inputs, rows, self.rope_dtype)

    query_rows = Rope(rope.cos[..., queries, :], rope.sin[..., queries, :])
    q = heads("q", x[:, queries], self.num_heads)
    k = heads("k", x, self.num_kv_heads)
    v = heads("v", x, self.num_kv_heads)
    q = rotate("q_norm", q, query_rows)
    k = rotate("k_norm", k, rope)
    out = attention(q, k, v)
    out = out.reshape(*out.shape[:2], embed_dim)
    return dense(embed_dim, ("heads", "embed"), name="proj", dtype=self.dtype)(
      out
    )


class Block(nn.Module):
  """Pre-norm attention (with LayerScale) and pre-norm SwiGLU.

  Attributes:
    layer_scale_init: initial LayerScale of the attention branch; None for no
      LayerScale. The feed-forward branch never has one.
  """

  num_heads: int
  num_kv_heads: int
  hidden_dim: int
  layer_scale_init: float | None
  rope_dtype: str
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    rope: Rope,
    queries: slice = slice(None),
  ) -> Float[Array, "b q d"]:
    """Transforms the tokens `queries`, which look at all tokens."""
    normed = RMSNorm(name="norm1", dtype=self.dtype)(x)
    branch = Attention(
      self.num_heads,
      self.num_kv_heads,
      self.rope_dtype,
      self.dtype,
      name="attention",
    )(normed, rope, queries)
    if self.layer_scale_init is not None:
      init = nn.initializers.constant(self.layer_scale_init)
      gamma = self.param("gamma", partitioned(init, None), (x.shape[-1],))
      branch = branch * gamma.astype(self.dtype)
    x = x[:, queries] + branch
    normed = RMSNorm(name="norm2", dtype=self.dtype)(x)
    return x + SwiGLU(self.hidden_dim, self.dtype, name="ffn")(normed)


class BlockStack(nn.Module):
  """Blocks in segments of equal shape.

  The parameters of a segment are stacked on a leading `layers` axis whether
  it is scanned or unrolled, in memory and on disk.

  Attributes:
    segments: (number of blocks, key/value heads) of each segment.
    scan: scan over the blocks of a segment (short compile) or unroll (XLA on
      CPU runs it faster).
    remat: what the backward pass keeps, a key of `REMAT_POLICIES`.
  """

  segments: tuple[tuple[int, int], ...]
  embed_dim: int
  num_heads: int
  hidden_dim: int
  layer_scale_init: float | None
  rope_dtype: str
  dtype: DTypeLike
  scan: bool
  remat: str

  def setup(self):
    self.stacked = [
      self.param(f"segment_{i}", self._init_segment, num_layers, kv_heads)
      for i, (num_layers, kv_heads) in enumerate(self.segments)
    ]

  def _block(self, num_kv_heads: int) -> Block:
    return Block(
      self.num_heads,
      num_kv_heads,
      self.hidden_dim,
      self.layer_scale_init,
      self.rope_dtype,
      self.dtype,
      parent=None,
    )

  def _init_segment(self, rng: Array, num_layers: int, num_kv_heads: int):
    block = self._block(num_kv_heads)
    x = jnp.zeros((1, 1, self.embed_dim), self.dtype)
    rows = jnp.zeros((1, self.embed_dim // self.num_heads // 2))
    init = lambda key: block.init(key, x, Rope(rows, rows))["params"]  # noqa: E731
    params = jax.vmap(init)(jax.random.split(rng, num_layers))
    return nn.meta.add_axis(params, 0, {nn.PARTITION_NAME: "layers"})

  def _apply(self, num_kv_heads: int):
    """A function (params, x, rope, queries) -> x of one block."""
    block = self._block(num_kv_heads)

    def run(params, x, rope, queries):
      x = nn.with_logical_constraint(x, ("batch", "tokens", None))
      return block.apply({"params": params}, x, rope, queries)

    policy = errors.lookup(REMAT_POLICIES, self.remat, "remat policy")
    if policy is not None:
      run = jax.checkpoint(run, policy=policy, static_argnums=(3,))
    return run

  def body(self, x: Float[Array, "b n d"], rope: Rope) -> Float[Array, "b n d"]:
    """All blocks but the last."""
    last = len(self.segments) - 1
    for i, (num_layers, kv_heads) in enumerate(self.segments):
      run, params = self._apply(kv_heads), self.stacked[i]
      if i == last:
        params, _ = _split(params, (num_layers - 1, 1))
        num_layers -= 1
      if self.scan and num_layers > 1:

        def step(x, layer, run=run):
          return run(layer, x, rope, slice(None)), None

        x, _ = lax.scan(step, x, params)
      elif num_layers:
        for layer in _unstack(params, num_layers):
          x = run(layer, x, rope, slice(None))
    return x

  def tail(
    self,
    x: Float[Array, "b n d"],
    rope: Rope,
    queries: slice = slice(None),
  ) -> Float[Array, "b q d"]:
    """The last block, computed only for the tokens `queries`."""
    num_layers, kv_heads = self.segments[-1]
    _, params = _split(self.stacked[-1], (num_layers - 1, 1))
    (layer,) = _unstack(params, 1)
    return self._apply(kv_heads)(layer, x, rope, queries)

  def hidden(
    self, x: Float[Array, "b n d"], rope: Rope, layers: tuple[int, ...]
  ) -> tuple[Float[Array, "b n d"], ...]:
    """The residual stream after each of the blocks `layers`, unrolled."""
    found, index = {}, 0
    for params, (num_layers, kv_heads) in zip(self.stacked, self.segments):
      for layer in _unstack(params, num_layers):
        x = self._apply(kv_heads)(layer, x, rope, slice(None))
        found[index] = x
        index += 1
    return tuple(found[i] for i in layers)


def _split(tree, sizes: tuple[int, ...]) -> tuple:
  """Cuts every leaf along the layers axis; the gradient is one concat."""
  leaves, treedef = jax.tree.flatten(tree)
  parts = zip(*(lax.split(leaf, sizes) for leaf in leaves))
  return tuple(treedef.unflatten(part) for part in parts)


def _unstack(tree, num_layers: int) -> tuple:
  parts = _split(tree, (1,) * num_layers)
  return tuple(jax.tree.map(lambda x: x[0], part) for part in parts)
