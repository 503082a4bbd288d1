"""Useful floating-point operations of a step, in closed form.

Counted are the multiply-adds (2 FLOPs each) of linear layers, convolutions and
attention that the objective needs; each objective adds up its own. What nobody
reads is not counted, such as the last encoder block beyond [cls] where only
that is used. The backward pass counts twice the forward pass, but for the patch
embedding, as no gradient flows to pixels; recomputation counts nothing.
"""

import math

import jax
from jax.extend.core import jaxprs_in_params

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.chips import find_chip
from sapiens2_jax.gpus import find_gpu


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


def stem_flops(arch: Architecture, num_tokens: int) -> int:
  """Forward pass of the patch embedding for tokens of an image."""
  num_patches = num_tokens * arch.window_size**2
  return 2 * arch.patch_size**2 * 3 * arch.embed_dim * num_patches


def window_flops(arch: Architecture, num_tokens: int) -> int:
  """Forward pass of the local stage for tokens of an image; 0 without one."""
  if not arch.has_windows:
    return 0
  length = 1 + arch.window_size**2
  queries = [length] * (arch.num_window_layers - 1) + [1]
  heads = arch.num_heads, arch.num_heads
  return num_tokens * sum(
    block_flops(arch.embed_dim, *heads, length, count) for count in queries
  )


def encoder_flops(arch: Architecture, num_patches: int, num_last: int) -> int:
  """Forward pass on one sequence; the last block for `num_last` tokens."""
  tokens = num_patches + arch.num_prefix_tokens
  queries = [tokens] * (arch.num_layers - 1) + [num_last]
  stem = stem_flops(arch, num_patches) + window_flops(arch, num_patches)
  return stem + sum(
    block_flops(arch.embed_dim, arch.num_heads, kv_heads, tokens, count)
    for kv_heads, count in zip(arch.num_kv_heads, queries)
  )


def layer_flops(jaxpr) -> int:
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
    total += sum(map(layer_flops, jaxprs_in_params(settings)))
  return total


def peak_flops() -> float | None:
  """Of all devices together in bfloat16, None where it is not known."""
  devices = jax.devices()
  kind = devices[0].device_kind
  device = find_chip(kind) or find_gpu(kind)
  return None if device is None else device.peak_flops * len(devices)
