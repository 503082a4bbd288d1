"""Useful floating-point operations of a step, in closed form.

Counted are the multiply-adds (2 FLOPs each) of linear layers, convolutions and
attention that the objective needs; in pretraining the last decoder block and
the output layer only on masked patches, the last encoder block only on [cls]
where nothing else is read. The backward pass counts twice the forward pass, but
for the patch embedding, as no gradient flows to pixels; recomputation counts
nothing.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from ml_collections import ConfigDict

from sapiens2_jax import tasks
from sapiens2_jax.architectures import Architecture, get_architecture
from sapiens2_jax.chips import find_chip
from sapiens2_jax.models.patches import grid_size
from sapiens2_jax.pretrain.masks import num_masked


def block_flops(
  embed_dim: int,
  num_heads: int,
  num_kv_heads: int,
  num_tokens: int,
  num_queries: int,
) -> int:
  """Forward pass of one block on one sequence, `num_queries` tokens out."""
  kv_dim = embed_dim * num_kv_heads // num_heads
  keys = 2 * embed_dim * kv_dim * num_tokens
  queries = 2 * embed_dim * embed_dim * num_queries  # q and output projection
  scores = 2 * embed_dim * num_tokens * num_queries  # logits and values
  feed_forward = 12 * embed_dim * embed_dim * num_queries
  return 2 * (keys + queries + scores + feed_forward)


def _stem_flops(arch: Architecture, num_patches: int) -> int:
  return 2 * arch.patch_size**2 * 3 * arch.embed_dim * num_patches


def _encoder_flops(arch: Architecture, num_patches: int, num_last: int) -> int:
  """One sequence; the last block for `num_last` tokens."""
  tokens = num_patches + arch.num_prefix_tokens
  queries = [tokens] * (arch.num_layers - 1) + [num_last]
  return _stem_flops(arch, num_patches) + sum(
    block_flops(arch.embed_dim, arch.num_heads, kv_heads, tokens, count)
    for kv_heads, count in zip(arch.num_kv_heads, queries)
  )


def pretrain_flops(config: ConfigDict) -> int:
  """Useful FLOPs of one pretraining step on one image, all views.

  Args:
    config: of experiments/pretrain.py.
  """
  model, data = config.model, config.data
  arch = get_architecture(model.size)
  patches, local = (
    rows * cols
    for rows, cols in (
      grid_size(tuple(size), arch.patch_size)
      for size in (data.image_size, data.local_size)
    )
  )
  hidden = num_masked(patches, config.masking.mask_ratio)
  visible = patches - hidden
  prefix = arch.num_prefix_tokens

  head = 2 * (
    arch.embed_dim * model.head_hidden_dim
    + model.head_hidden_dim**2
    + model.head_hidden_dim * model.bottleneck_dim
    + model.bottleneck_dim * model.prototypes
  )
  teacher = data.num_global * (_encoder_flops(arch, patches, 1) + head)
  student = data.num_global * _encoder_flops(arch, visible, visible + prefix)
  student += data.num_local * _encoder_flops(arch, local, 1)
  student += (data.num_global + data.num_local) * head
  width = model.decoder_dim
  queries = [patches] * (model.decoder_layers - 1) + [hidden]
  decoder = 2 * width * (
    arch.embed_dim * visible + arch.patch_size**2 * 3 * hidden
  ) + sum(
    block_flops(width, model.decoder_heads, model.decoder_heads, patches, count)
    for count in queries
  )
  pixels = data.num_global * visible + data.num_local * local
  learned = 3 * (student + data.num_global * decoder)
  return learned - _stem_flops(arch, pixels) + teacher


def useful_flops(config: ConfigDict) -> int:
  """Useful FLOPs of one training step on one image."""
  return task_flops(config) if "task" in config else pretrain_flops(config)


def task_flops(config: ConfigDict) -> int:
  """Useful FLOPs of one fine-tuning step on one image.

  Args:
    config: of experiments/finetune.py.
  """
  arch = get_architecture(config.model.size)
  grid = grid_size(tuple(config.data.image_size), arch.patch_size)
  patches = math.prod(grid)
  encoder = _encoder_flops(arch, patches, patches + arch.num_prefix_tokens)
  head = tasks.make_task(config).head()
  features = jax.ShapeDtypeStruct((1, *grid, arch.embed_dim), jnp.float32)
  rng = jax.eval_shape(lambda: jax.random.key(0))
  traced = jax.make_jaxpr(head.init_with_output)(rng, features)
  learned = 3 * (encoder + _layer_flops(traced.jaxpr))
  return learned - _stem_flops(arch, patches)


def _layer_flops(jaxpr) -> int:
  """Forward pass of the linear layers and convolutions of a trace.

  The zeros between the pixels of a transposed convolution count nothing, those
  of the padding count.
  """
  total = 0
  for equation in jaxpr.eqns:
    shapes = [x.aval.shape for x in (*equation.invars, *equation.outvars)]
    settings = equation.params
    if equation.primitive.name == "conv_general_dilated":
      _, kernel, out = shapes
      channels = settings["dimension_numbers"].rhs_spec[0]
      taps = math.prod(kernel) // kernel[channels]
      total += 2 * math.prod(out) * taps // math.prod(settings["lhs_dilation"])
    elif equation.primitive.name == "dot_general":
      left, _, out = shapes
      (contracted, _), _ = settings["dimension_numbers"]
      total += 2 * math.prod(out) * math.prod(left[i] for i in contracted)
    total += sum(map(_layer_flops, jaxprs_in_params(settings)))
  return total


def peak_flops() -> float | None:
  """Of all devices together in bfloat16, None where it is not known."""
  devices = jax.devices()
  chip = find_chip(devices[0].device_kind)
  return None if chip is None else chip.peak_flops * len(devices)
