"""The transformer block of encoder and decoder, and stacks of it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models import cudnn, lora, partition
from sapiens2_jax.models import rope as rope_lib
from sapiens2_jax.models.attention import attention
from sapiens2_jax.models.attention_kernel import KERNEL_INPUT, KERNEL_RESIDUAL
from sapiens2_jax.models.layers import (
  HeadMerge,
  HeadProjection,
  RMSNorm,
  dense,
  partitioned,
  weight_init,
)

Rope = rope_lib.Rope

# Values that the policies below speak of by name.
_RESIDUAL, _GATE = "residual_stream", "gate_and_up"
_SAVED = (KERNEL_INPUT, KERNEL_RESIDUAL, cudnn.RESIDUAL, _RESIDUAL, _GATE)
_policies = jax.checkpoint_policies
# What the backward pass finds in memory; the rest it computes again.
REMAT_POLICIES = {
  "none": None,  # whatever JAX keeps
  "full": _policies.nothing_saveable,  # the input of each block
  "dots": _policies.dots_with_no_batch_dims_saveable,  # matrix products
  # What costs a matrix product to compute again: inputs and residuals of the
  # attention kernel, the stream behind it, both halves of the SwiGLU.
  "block": _policies.save_only_these_names(*_SAVED),
  "offload": _policies.save_and_offload_only_these_names(  # the same, on host
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=list(_SAVED),
    offload_src="device",
    offload_dst="pinned_host",
  ),
}


@jax.custom_vjp
def _materialize(x: Array) -> Array:
  """Writes x to memory instead of computing it within what reads it.

  The gradient passes freely, unlike through `lax.optimization_barrier`.
  """
  return lax.optimization_barrier(x)


_materialize.defvjp(lambda x: (_materialize(x), None), lambda _, g: (g,))


class SwiGLU(nn.Module):
  """silu(x W_gate + b) * (x W_up + b), projected back; with biases."""

  hidden_dim: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    # One array for both halves, so that either can be sharded over `mlp`.
    embed_dim = x.shape[-1]
    shape = (2, embed_dim, self.hidden_dim)
    kernel = self.param(
      "w12", partitioned(weight_init, None, "embed", "mlp"), shape
    )
    bias = self.param(
      "b12",
      partitioned(nn.initializers.zeros, None, "mlp"),
      (2, self.hidden_dim),
    )
    kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
    gate, up = (
      checkpoint_name(x @ kernel[i] + bias[i], _GATE) for i in range(2)
    )
    out = dense(embed_dim, ("mlp", "embed"), name="w3", dtype=self.dtype)
    # Within the next product, XLA would compute it once for each of its tiles.
    return out(_materialize(nn.silu(gate) * up))


class Attention(nn.Module):
  """Self-attention with grouped heads, QK-norm and rotary positions.

  Without positions there is no QK-norm either, as in the 4K local stage.
  """

  num_heads: int
  num_kv_heads: int
  rope_dtype: str
  dtype: DTypeLike
  backend: str

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    rope: Rope | None,
    queries: slice,
    num_keys: int | None,
  ) -> Float[Array, "b q d"]:
    embed_dim = x.shape[-1]

    def heads(name: str, inputs: Array, num_heads: int) -> Array:
      head_dim = embed_dim // self.num_heads
      return HeadProjection(num_heads, head_dim, self.dtype, name=name)(inputs)

    def rotate(name: str, inputs: Array, rows: Rope) -> Array:
      # Norm before rotation, shared by all heads. Source: backbone spec.
      inputs = RMSNorm(name=name, dtype=self.dtype, axis=-2)(inputs)
      return rope_lib.apply_rope(inputs, rows, self.rope_dtype)

    q = heads("q", x[:, queries], self.num_heads)
    k = heads("k", x, self.num_kv_heads)
    v = heads("v", x, self.num_kv_heads)
    if rope is not None:
      rows = Rope(rope.cos[..., queries, :], rope.sin[..., queries, :])
      q = rotate("q_norm", q, rows)
      k = rotate("k_norm", k, rope)
    out = attention(q, k, v, num_keys=num_keys, backend=self.backend)
    return HeadMerge(embed_dim, self.dtype, name="proj")(out)


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
  attention_backend: str

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    rope: Rope | None,
    queries: slice = slice(None),
    num_keys: int | None = None,
  ) -> Float[Array, "b q d"]:
    """Transforms the tokens `queries`, which look at the first `num_keys`."""
    normed = RMSNorm(name="norm1", dtype=self.dtype)(x)
    branch = Attention(
      self.num_heads,
      self.num_kv_heads,
      self.rope_dtype,
      self.dtype,
      self.attention_backend,
      name="attention",
    )(normed, rope, queries, num_keys)
    if self.layer_scale_init is not None:
      init = nn.initializers.constant(self.layer_scale_init)
      gamma = self.param("gamma", partitioned(init, None), (x.shape[-1],))
      branch = branch * gamma.astype(self.dtype)
    x = checkpoint_name(x[:, queries] + branch, _RESIDUAL)
    normed = RMSNorm(name="norm2", dtype=self.dtype)(x)
    return x + SwiGLU(self.hidden_dim, self.dtype, name="ffn")(normed)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _init_blocks(
  rngs: Array, block: Block, embed_dim: int, has_positions: bool
):
  """Parameters of one block for each key.

  Traced once for blocks that are alike: Flax asks for their shapes whenever a
  stack is called.
  """
  x = jnp.zeros((1, 1, embed_dim), block.dtype)
  rows = jnp.zeros((1, embed_dim // block.num_heads // 2))
  rope = Rope(rows, rows) if has_positions else None
  return jax.vmap(lambda rng: block.init(rng, x, rope)["params"])(rngs)


class BlockStack(nn.Module):
  """Blocks in segments of equal shape.

  The parameters of a segment are stacked on a leading `layers` axis whether
  it is scanned or unrolled, in memory and on disk. What `models.lora` adds to
  them is given beside them, as a collection of its own.

  Attributes:
    segments: (number of blocks, key/value heads) of each segment.
    scan: scan over the blocks of a segment (short compile) or unroll (XLA on
      CPU runs it faster).
    remat: what the backward pass keeps, a key of `REMAT_POLICIES`.
    attention_backend: see `attention`.
    has_positions: its tokens have rotary positions; else `rope` is None.
    axes: logical names of the sequences and of their tokens, by which devices
      share them.
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
  attention_backend: str
  has_positions: bool = True
  axes: tuple[str, str | None] = ("batch", "tokens")

  def setup(self):
    self.stacked = [
      (
        self.param(f"segment_{i}", self._init_segment, num_layers, kv_heads),
        self.get_variable(lora.COLLECTION, f"segment_{i}", {}),
      )
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
      self.attention_backend,
      parent=None,
    )

  def _init_segment(self, rng: Array, num_layers: int, num_kv_heads: int):
    block = self._block(num_kv_heads)
    rngs = jax.random.split(rng, num_layers)
    params = _init_blocks(rngs, block, self.embed_dim, self.has_positions)
    return nn.meta.add_axis(params, 0, {nn.PARTITION_NAME: "layers"})

  def _apply(self, num_kv_heads: int, in_loop: bool = False):
    """A function (layer, x, rope, queries, num_keys) -> x of one block.

    A layer is its parameters, and what LoRA adds to them.
    """
    block = self._block(num_kv_heads)

    def run(layer, x, rope, queries, num_keys):
      params = lora.merge(*layer)
      x = partition.constrain(x, *self.axes, None)
      return block.apply({"params": params}, x, rope, queries, num_keys)

    policy = errors.lookup(REMAT_POLICIES, self.remat, "remat policy")
    if policy is not None:
      # No compiler joins what a loop computes with what another one computes
      # again; the barrier against it would copy each row of a stack.
      run = jax.checkpoint(
        run, policy=policy, static_argnums=(3, 4), prevent_cse=not in_loop
      )
    return run

  def body(
    self, x: Float[Array, "b n d"], rope: Rope | None
  ) -> Float[Array, "b n d"]:
    """All blocks but the last."""
    num_tokens = x.shape[1]
    x, rope = self._pad_tokens(x, rope)
    last = len(self.segments) - 1
    for i, (num_layers, kv_heads) in enumerate(self.segments):
      params = self.stacked[i]
      if i == last:
        params, _ = _split(params, (num_layers - 1, 1))
        num_layers -= 1
      in_loop = self.scan and num_layers > 1
      run = self._apply(kv_heads, in_loop)
      if in_loop:

        def step(x, layer, run=run):
          return run(layer, x, rope, slice(None), num_tokens), None

        x, _ = lax.scan(step, x, params)
      elif num_layers:
        for layer in _unstack(params, num_layers):
          x = run(layer, x, rope, slice(None), num_tokens)
    return x[:, :num_tokens]

  def last_block(
    self,
    x: Float[Array, "b n d"],
    rope: Rope | None,
    queries: slice = slice(None),
  ) -> Float[Array, "b q d"]:
    """The last block, computed only for the tokens `queries`."""
    num_layers, kv_heads = self.segments[-1]
    _, params = _split(self.stacked[-1], (num_layers - 1, 1))
    (layer,) = _unstack(params, 1)
    num_tokens = x.shape[1]
    queries = slice(*queries.indices(num_tokens))
    x, rope = self._pad_tokens(x, rope)
    return self._apply(kv_heads)(layer, x, rope, queries, num_tokens)

  def _pad_tokens(
    self, x: Array, rope: Rope | None
  ) -> tuple[Array, Rope | None]:
    """Adds tokens that nobody looks at, until devices can share them evenly."""
    tokens = self.axes[1]
    extra = -x.shape[1] % partition.axis_size(tokens) if tokens else 0
    if not extra:
      return x, rope
    x = jnp.pad(x, ((0, 0), (0, extra), (0, 0)))
    pad = [(0, 0)] * (rope.cos.ndim - 2) + [(0, extra), (0, 0)]
    return x, Rope(jnp.pad(rope.cos, pad), jnp.pad(rope.sin, pad))

  def hidden(
    self, x: Float[Array, "b n d"], rope: Rope, layers: tuple[int, ...]
  ) -> tuple[Float[Array, "b n d"], ...]:
    """The residual stream after each of the blocks `layers`, unrolled."""
    found, index = {}, 0
    for params, (num_layers, kv_heads) in zip(self.stacked, self.segments):
      for layer in _unstack(params, num_layers):
        x = self._apply(kv_heads)(layer, x, rope, slice(None), None)
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
