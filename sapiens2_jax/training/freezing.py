"""Encoder weights that fine-tuning leaves as they are.

Those of `optim.frozen_stages` = N > 0 blocks: the first N, and what comes
before them, patch embedding, special tokens and the local stage of the 4K
variant; the final norm too if no block is left. They have no gradient, no
moments and no weight decay.

Source: reference.

With LoRA (`model.lora_rank`), whose parameters stand beside the encoder's, all
of the encoder is left as it is. Source: arXiv 2106.09685.

In the first `optim.freeze_encoder_steps` of pretraining all that is of an
encoder stays as it is, so that a new decoder and new heads do not pull released
weights about before they have learned something.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax import lax

_SEGMENT = re.compile(r"segment_(\d+)")


def _rows(flat: Mapping[tuple, object], count: int) -> dict[tuple, int | None]:
  """Of each frozen leaf, how many blocks from its first; None: all of it."""
  if any(path[0] == "lora" for path in flat):
    return dict.fromkeys(path for path in flat if path[0] == "encoder")
  if not count:
    return {}
  sizes = {
    int(_SEGMENT.fullmatch(path[2])[1]): jax.tree.leaves(leaf)[0].shape[0]
    for path, leaf in flat.items()
    if path[:2] == ("encoder", "blocks")
  }
  before, frozen = 0, {}
  for segment in sorted(sizes):
    frozen[f"segment_{segment}"] = min(max(count - before, 0), sizes[segment])
    before += sizes[segment]
  found = {}
  for path in flat:
    if path[0] != "encoder":
      continue
    if path[1] == "blocks":
      rows = frozen[path[2]]
      if rows:
        whole = rows == sizes[int(_SEGMENT.fullmatch(path[2])[1])]
        found[path] = None if whole else rows
    elif path[1] != "norm" or count >= before:
      found[path] = None
  return found


def learned(params: dict, count: int) -> dict:
  """The rest of the parameters, or of a tree like them."""
  flat = traverse_util.flatten_dict(params)
  frozen = _rows(flat, count)
  if not frozen:
    return params
  kept = {}
  for path, leaf in flat.items():
    if path not in frozen:
      kept[path] = leaf
    elif (rows := frozen[path]) is not None:
      kept[path] = jax.tree.map(lambda x, rows=rows: x[rows:], leaf)
  return traverse_util.unflatten_dict(kept)


def count_learned(params: dict, count: int) -> int:
  """How many numbers `learned` keeps of arrays of which shapes are known."""
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), params
  )
  kept = jax.eval_shape(lambda tree: learned(tree, count), shapes)
  return sum(math.prod(x.shape) for x in jax.tree.leaves(kept))


def stop_gradient(params: dict, count: int) -> dict:
  """The same parameters; no gradient reaches the frozen ones.

  Equal blocks are one array: those before the last frozen one of it cost a
  backward pass if others of the same array are learned.
  """
  flat = traverse_util.flatten_dict(params)
  frozen = _rows(flat, count)
  if not frozen:
    return params
  for path, rows in frozen.items():
    x = flat[path]
    if rows is None:
      flat[path] = lax.stop_gradient(x)
    else:
      flat[path] = jnp.concatenate([lax.stop_gradient(x[:rows]), x[rows:]])
  return traverse_util.unflatten_dict(flat)


def freeze(
  tx: optax.GradientTransformation, count: int
) -> optax.GradientTransformation:
  """An optimizer that sees the learned parameters alone."""

  def update(grads, state, params):
    flat = traverse_util.flatten_dict(params)
    frozen = _rows(flat, count)
    if not frozen:
      return tx.update(grads, state, params)
    found, state = tx.update(
      learned(grads, count), state, learned(params, count)
    )
    updates = traverse_util.flatten_dict(found)
    for path, rows in frozen.items():
      zeros = jnp.zeros_like(flat[path][:rows])
      if rows is not None:
        zeros = jnp.concatenate([zeros, updates[path]])
      updates[path] = zeros
    return traverse_util.unflatten_dict(updates), state

  return optax.GradientTransformation(
    lambda params: tx.init(learned(params, count)), update
  )


def hold_encoder(tree: Any, before: Any, is_held: jax.Array) -> Any:
  """`tree`, but for what is of an encoder that of `before`, while it is held.

  Args:
    tree: any part of a state: parameters, moments, the teacher's state.
    before: of the same structure.
    is_held: scalar bool.
  """

  def one(path, new, old):
    names = [x.key for x in path if isinstance(x, jax.tree_util.DictKey)]
    return jnp.where(is_held, old, new) if "encoder" in names else new

  return jax.tree_util.tree_map_with_path(one, tree, before)
