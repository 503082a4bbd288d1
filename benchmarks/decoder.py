"""A plain language model and its training step, for `calibration`.

The programs whose speed is published are of this kind: embedding as a product
with one-hot rows, RMSNorm, grouped causal attention with rotary positions,
SwiGLU, cross-entropy over a vocabulary, AdamW with clipped gradients; float32
parameters, bfloat16 products; nothing has a bias. Written here from the
published configurations, so that it differs from those programs in nothing
that costs time.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as splash_mask,
)
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from sapiens2_jax.models.layers import NORM_EPS
from sapiens2_jax.models.rope import Rope

BATCH = ("data", "fsdp")
_BF16, _F32 = jnp.bfloat16, jnp.float32


@dataclasses.dataclass(frozen=True)
class Shape:
  """Sizes of a model."""

  embed_dim: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  hidden_dim: int
  vocab_size: int
  head_dim: int = 128


@dataclasses.dataclass(frozen=True)
class Remat:
  """What the backward pass finds again, by name.

  Names: layer_input, query, key, value, context, out, gate, up, down.

  Attributes:
    saved: in the chip's memory.
    offloaded: in the host's.
  """

  saved: tuple[str, ...] = ()
  offloaded: tuple[str, ...] = ()

  def policy(self):
    return jax.checkpoint_policies.save_and_offload_only_these_names(
      names_which_can_be_saved=list(self.saved),
      names_which_can_be_offloaded=list(self.offloaded),
      offload_src="device",
      offload_dst="pinned_host",
    )


def param_specs(shape: Shape) -> dict[str, tuple[tuple[int, ...], P]]:
  """Sizes of each parameter, and the mesh axes that share it."""
  d, n, e = shape.embed_dim, shape.num_layers, shape.head_dim
  h, g, f, v = (
    *(shape.num_heads, shape.num_kv_heads),
    *(shape.hidden_dim, shape.vocab_size),
  )
  heads, back = P(None, "fsdp", "tensor", None), P(None, "tensor", None, "fsdp")
  return {
    "embedding": ((v, d), P("tensor", "fsdp")),
    "norm1": ((n, d), P(None, "tensor")),
    "norm2": ((n, d), P(None, "tensor")),
    "query": ((n, d, h, e), heads),
    "key": ((n, d, g, e), heads),
    "value": ((n, d, g, e), heads),
    "out": ((n, h, e, d), back),
    "gate": ((n, d, f), P(None, "fsdp", "tensor")),
    "up": ((n, d, f), P(None, "fsdp", "tensor")),
    "down": ((n, f, d), P(None, "tensor", "fsdp")),
    "norm": ((d,), P("tensor")),
    "logits": ((d, v), P("fsdp", "tensor")),
  }


def _rms_norm(x, scale):
  x = x.astype(_F32)
  mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
  return (x * lax.rsqrt(mean_square + NORM_EPS)).astype(_BF16) * scale


def _rotate(x, rope: Rope):
  """(b, n, h, e), halves of the head rotated against each other."""
  first, second = jnp.split(x, 2, axis=-1)
  cos, sin = rope.cos[:, None], rope.sin[:, None]
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  ).astype(_BF16)


def _attend(q, k, v, blocks: splash.BlockSizes, interpret: bool):
  """(b, h, n, e) on one device; each token looks at itself and before."""
  mask = splash_mask.MultiHeadMask(
    [splash_mask.CausalMask((q.shape[2], k.shape[2]))] * q.shape[1]
  )
  kernel = splash.make_splash_mha_single_device(
    mask,
    block_sizes=blocks,
    residual_checkpoint_name="context",
    interpret=interpret,
  )
  return jax.vmap(kernel)(q, k, v)


@dataclasses.dataclass(frozen=True)
class Program:
  """One training step on a mesh over `data`, `fsdp` and `tensor`.

  Attributes:
    shape: of the model.
    mesh: of abstract or real devices.
    remat: of each layer, which is scanned.
    blocks: of the attention kernel.
    moment_dtype: of AdamW's first moment.
    vocab_parts: the loss is computed in this many parts of the sequence.
  """

  shape: Shape
  mesh: Mesh
  remat: Remat
  blocks: splash.BlockSizes
  moment_dtype: ArrayLike = _F32
  vocab_parts: int = 1

  def _constrain(self, x, *axes):
    return lax.with_sharding_constraint(x, NamedSharding(self.mesh, P(*axes)))

  def _stream(self, x):
    return self._constrain(x, BATCH, None, "tensor")

  def _layer(self, x, params, rope):
    params = {name: value.astype(_BF16) for name, value in params.items()}
    x = checkpoint_name(self._stream(x), "layer_input")
    normed = self._stream(_rms_norm(x, params["norm1"]))

    def project(name):
      made = jnp.einsum("bnd,dhe->bnhe", normed, params[name])
      made = self._constrain(made, BATCH, None, "tensor", None)
      return made if name == "value" else _rotate(made, rope)

    q, k, v = (
      checkpoint_name(project(name), name).swapaxes(1, 2)
      for name in ("query", "key", "value")
    )
    q = q * self.shape.head_dim**-0.5
    parts = P(BATCH, "tensor", None, None)
    platform = self.mesh.devices.flat[0].platform
    attended = jax.shard_map(
      functools.partial(
        _attend, blocks=self.blocks, interpret=platform != "tpu"
      ),
      mesh=self.mesh,
      in_specs=(parts,) * 3,
      out_specs=parts,
      check_vma=False,
    )(q, k, v)
    out = jnp.einsum("bhne,hed->bnd", attended, params["out"])
    x = x + checkpoint_name(self._stream(out), "out")
    normed = self._stream(_rms_norm(x, params["norm2"]))
    gate, up = (
      checkpoint_name(
        self._constrain(normed @ params[name], BATCH, None, "tensor"), name
      )
      for name in ("gate", "up")
    )
    down = (jax.nn.silu(gate) * up) @ params["down"]
    return x + checkpoint_name(self._stream(down), "down"), None

  def loss(self, params, tokens, targets):
    """Mean cross-entropy in nats; tokens and targets are (b, n) int32."""
    b, n = tokens.shape
    vocab = jnp.arange(self.shape.vocab_size)
    one_hot = (tokens[..., None] == vocab).astype(_BF16)
    x = self._stream(one_hot @ params["embedding"].astype(_BF16))
    half = self.shape.head_dim // 2
    angles = jnp.arange(n)[:, None] * 1e4 ** (-jnp.arange(half) / half)
    rope = Rope(jnp.cos(angles), jnp.sin(angles))
    per_layer = {
      name: value
      for name, value in params.items()
      if name not in ("embedding", "norm", "logits")
    }
    layer = jax.checkpoint(
      functools.partial(self._layer, rope=rope),
      policy=self.remat.policy(),
      prevent_cse=False,
    )
    x, _ = lax.scan(layer, x, per_layer)
    x = self._stream(_rms_norm(x, params["norm"].astype(_BF16)))
    kernel = params["logits"].astype(_BF16)

    def entropy(x, targets):
      logits = self._constrain(x @ kernel, BATCH, None, "tensor").astype(_F32)
      target = jnp.where(targets[..., None] == vocab, logits, 0).sum(-1)
      return jax.nn.logsumexp(logits, axis=-1) - target

    if self.vocab_parts > 1:
      size = n // self.vocab_parts

      def part(total, i):
        take = functools.partial(
          lax.dynamic_slice_in_dim, start_index=i * size, slice_size=size
        )
        found = jax.checkpoint(entropy)(take(x, axis=1), take(targets, axis=1))
        return total + found.sum(), None

      total, _ = lax.scan(part, 0.0, jnp.arange(self.vocab_parts))
    else:
      total = entropy(x, targets).sum()
    return total / (b * n)

  @property
  def tx(self) -> optax.GradientTransformation:
    return optax.chain(
      optax.clip_by_global_norm(1.0),
      optax.adamw(3e-5, 0.9, 0.95, mu_dtype=self.moment_dtype),
    )

  def step(self, state, tokens, targets):
    """((params, optimizer state), batch) -> the next state, and the loss."""
    params, moments = state
    loss, grads = jax.value_and_grad(self.loss)(params, tokens, targets)
    updates, moments = self.tx.update(grads, moments, params)
    return (optax.apply_updates(params, updates), moments), loss

  def state_shapes(self):
    """Parameters and optimizer state as shapes with shardings."""
    params = {
      name: jax.ShapeDtypeStruct(
        size, _F32, sharding=NamedSharding(self.mesh, spec)
      )
      for name, (size, spec) in param_specs(self.shape).items()
    }
    moments = optax.tree_map_params(
      self.tx,
      lambda moment, param: jax.ShapeDtypeStruct(
        moment.shape, moment.dtype, sharding=param.sharding
      ),
      jax.eval_shape(self.tx.init, params),
      params,
      transform_non_params=lambda x: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=NamedSharding(self.mesh, P())
      ),
    )
    return params, moments

  def lower(self, batch: int, num_tokens: int) -> jax.stages.Lowered:
    """The step for `batch` sequences on all devices together."""
    state = self.state_shapes()
    shardings = jax.tree.map(lambda x: x.sharding, state)
    tokens = jax.ShapeDtypeStruct(
      (batch, num_tokens),
      jnp.int32,
      sharding=NamedSharding(self.mesh, P(BATCH)),
    )
    step = jax.jit(
      self.step,
      donate_argnums=0,
      out_shardings=(shardings, NamedSharding(self.mesh, P())),
    )
    with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
      return step.lower(state, tokens, tokens)
