"""AdamW, or Muon for matrices, with the decay rules of the recipes."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict
from optax import contrib

from sapiens2_jax import errors
from sapiens2_jax.models.from_config import DTYPES
from sapiens2_jax.training import freezing

# Parameters that are not decayed, by the last part of their name: norms and
# LayerScale, biases, the position table of the 4K variant.
NO_DECAY = frozenset(("scale", "gamma", "bias", "b12", "window_positions"))
TOKENS = frozenset(("cls_token", "registers", "mask_token", "window_token"))
# Weights that Muon takes, but those to outputs. Those from pixels too: the toy
# learned normals in fewer steps with them.
WEIGHTS = frozenset(("kernel", "w12"))
OUTPUTS = frozenset(("predict", "prototypes"))
# Root mean square of Muon's updates before the learning rate, that of AdamW's,
# so that both take the same one. Source: arXiv 2502.16982.
MUON_RMS = 0.2
_SEGMENT = re.compile(r"segment_(\d+)")


def decay_mask(params, *, decay_tokens: bool):
  """True for the parameters that weight decay acts on.

  Source: arXiv 2604.21681 (in pretraining not on norms, biases, positional and
  special tokens); reference (in fine-tuning on the tokens); LayerScale: ours.
  """
  kept = NO_DECAY if decay_tokens else NO_DECAY | TOKENS

  def is_decayed(path, _):
    return _names(path)[-1] not in kept

  return jax.tree_util.tree_map_with_path(is_decayed, params)


def depth_factors(params, decay: float):
  """Factor of each parameter's learning rate: less near the input.

  With L blocks, decay ** (L + 1 - depth), where depth is 0 for patch embedding,
  tokens and the local stage of the 4K variant, i + 1 in block i, and L + 1 for
  the final norm and all that is not of the encoder.

  Args:
    params: with an encoder, whose blocks are stacked on a leading axis.
    decay: above 0, up to 1.

  Returns:
    A tree of float32 arrays that broadcast with the parameters.

  Source: reference.
  """
  flat = jax.tree_util.tree_flatten_with_path(params)[0]
  sizes = {
    segment: leaf.shape[0]
    for path, leaf in flat
    if (segment := _segment(path)) is not None
  }
  num_layers = sum(sizes.values())

  def factor(path, leaf):
    names = _names(path)
    segment = _segment(path)
    if segment is not None:
      first = sum(size for other, size in sizes.items() if other < segment)
      depth = first + 1 + np.arange(sizes[segment])
      depth = depth.reshape(-1, *(1,) * (leaf.ndim - 1))
    elif names[0] == "encoder" and names[1] != "norm":
      depth = 0
    else:
      depth = num_layers + 1
    return np.float32(decay) ** np.float32(num_layers + 1 - depth)

  return jax.tree_util.tree_map_with_path(factor, params)


def scale_by_depth(decay: float) -> optax.GradientTransformation:
  """Multiplies updates by `depth_factors`."""

  def scale(updates, _):
    return jax.tree.map(jnp.multiply, updates, depth_factors(updates, decay))

  return optax.stateless(scale)


def _names(path) -> list[str]:
  """Of the dicts that a leaf lies in, outermost first."""
  return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]


def _segment(path) -> int | None:
  """Number of the segment of encoder blocks that a leaf belongs to."""
  names = _names(path)
  # LoRA's stand beside those that they add to.
  if names[0] not in ("encoder", "lora") or names[1] != "blocks":
    return None
  return int(_SEGMENT.fullmatch(names[2]).group(1))


def _adam(
  config: ConfigDict, dtype: jax.typing.DTypeLike
) -> optax.GradientTransformation:
  """Stores both moments in `dtype`; they are updated in float32."""
  adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
  if dtype == jnp.float32:
    return adam

  def cast(state, to):
    moments = optax.tree.cast((state.mu, state.nu), to)
    return state._replace(mu=moments[0], nu=moments[1])

  def update(grads, state, params=None):
    updates, state = adam.update(grads, cast(state, jnp.float32), params)
    return updates, cast(state, dtype)

  return optax.GradientTransformation(
    lambda params: cast(adam.init(params), dtype), update
  )


def muon_axes(params):
  """Input and output axes of Muon's matrices; None for all else.

  Blocks are stacked on a leading axis. A convolution is a matrix of all that
  its window sees.
  """

  def axes(path, leaf):
    names = _names(path)
    if names[-1] not in WEIGHTS or OUTPUTS & set(names):
      return None
    last = leaf.ndim - 1
    first = last - 1 if "blocks" in names else 0
    return contrib.MuonDimensionNumbers(tuple(range(first, last)), last)

  return jax.tree_util.tree_map_with_path(axes, params)


def _muon(
  config: ConfigDict, dtype: jax.typing.DTypeLike
) -> optax.GradientTransformation:
  """Momentum made orthogonal for matrices, Adam for the rest."""

  def groups(params):
    return jax.tree.map(
      lambda _, axes: "adam" if axes is None else "muon",
      params,
      muon_axes(params),
    )

  muon = contrib.scale_by_muon(
    mu_dtype=dtype, weight_dimension_numbers=muon_axes
  )
  muon = optax.chain(muon, optax.stateless(_scale_to_adam))
  return optax.partition({"muon": muon, "adam": _adam(config, dtype)}, groups)


def _scale_to_adam(updates, _):
  """From singular values of about 1 to `MUON_RMS`."""

  def scale(update, axes):
    inputs = math.prod(update.shape[axis] for axis in axes.reduction_axis)
    return update * MUON_RMS * max(inputs, update.shape[-1]) ** 0.5

  return jax.tree.map(scale, updates, muon_axes(updates))


# How gradients become directions, by `optim.name`.
OPTIMIZERS = {"adamw": _adam, "muon": _muon}


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
  """Clip by global norm, moments, decoupled weight decay, depth.

  The step multiplies what this returns by minus the learning rate, which is a
  function of the training step.
  """
  make = errors.lookup(OPTIMIZERS, config.name, "optim.name")
  dtype = errors.lookup(DTYPES, config.moments_dtype, "optim.moments_dtype")
  mask = functools.partial(decay_mask, decay_tokens=config.decay_tokens)
  parts = [
    optax.clip_by_global_norm(config.clip_norm),
    make(config, dtype),
    optax.add_decayed_weights(config.weight_decay, mask=mask),
  ]
  if config.layer_decay != 1:
    parts.append(scale_by_depth(config.layer_decay))
  # Only fine-tuning has the field.
  return freezing.freeze(optax.chain(*parts), config.get("frozen_stages", 0))
