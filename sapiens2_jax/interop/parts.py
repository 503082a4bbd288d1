"""Weights and runs of every kind, as parts of the state of a new run."""

import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sapiens2_jax import fields, validation
from sapiens2_jax.interop.load import task_config
from sapiens2_jax.interop.weights import Found, find_weights, read_weights
from sapiens2_jax.objectives import objective_class, task_name
from sapiens2_jax.tasks import registry
from sapiens2_jax.training import checkpoints
from sapiens2_jax.training.matching import OTHER, Parts, Shapes
from sapiens2_jax.training.state import TrainState, by_path

_ENCODER, _HEAD = "params/encoder/", "params/head/"


def open_parts(config: ConfigDict) -> Parts:
  """What `model.init_from` holds for a run.

  Where `model.init_parts` is not "encoder" that is everything of a run for the
  same purpose, pretraining or one task, and the head of other weights of the
  same task; of a run with LoRA, the sum and the head. Of all else it is the
  encoder, in pretraining the teacher's; where it is "run" that is refused.

  Args:
    config: of the new run.

  Raises:
    ValueError: there are no weights, or they are damaged, or have another
      head than `model.init_head` asks for.
  """
  try:
    found = find_weights(config.model.init_from)
    parts = (_of_run if found.kind == "run" else _of_weights)(config, found)
    # Only fine-tuning has the fields. What LoRA adds to is never learned.
    needed = {"init_head": _HEAD, "lora_rank": _ENCODER}
    given = tuple(x for name, x in needed.items() if config.model.get(name))
    return dataclasses.replace(parts, needed=given)
  except ValueError as error:
    raise ValueError(f"model.init_from: {error}") from error


def _check_run(config: ConfigDict, found: Found, is_whole: bool) -> None:
  """Refuses an encoder alone where all of a run is to go on.

  What is new beside it would be learned at once, and pull it about.
  """
  if config.model.init_parts == "run" and not is_whole:
    raise ValueError(
      f"{found.description} is no run for the same purpose, but "
      "model.init_parts=run needs one; give its workdir, or start with the "
      "encoder alone (init_parts=encoder; continue:start=encoder)"
    )


def _of_run(config: ConfigDict, found: Found) -> Parts:
  _, given = checkpoints.load_run(found.place, validation.read_config)
  if given.model.get("lora_rank"):  # Merged, and no longer what it moved.
    return _of_weights(config, found)
  is_whole = _is_same(config, given, found)
  _check_run(config, found, is_whole)
  kind = objective_class(given)

  def select(state: TrainState) -> dict[str, Any]:
    whole = {
      "params": state.params,
      "teacher_state": state.teacher_state,
      "opt_state": state.opt_state,
    }
    if is_whole:
      return by_path(whole)
    parts = by_path({"params": {"encoder": kind.encoder_params(state)}})
    taken = set(parts.values())
    owners = {
      stored: f"{which}'s encoder"
      for which in kind.encoder_names
      for stored in jax.tree.leaves(kind.encoder_params(state, which))
    }
    for name, stored in by_path(whole).items():
      if stored not in taken:
        parts[_unused(name, owners.get(stored))] = stored
    return parts

  def load(wanted: Shapes) -> dict[str, jax.Array]:
    return checkpoints.load_part(
      found.place,
      lambda state: {n: x for n, x in select(state).items() if n in wanted},
      dict(wanted),
    )[1]

  step, arrays = checkpoints.part_shapes(found.place, select)
  origin = f"{found.path}, step {step}" if is_whole else found.description
  origin += _rope_note(config, given.model.rope_dtype)
  return Parts(origin, given.model.size, step, arrays, load)


def _of_weights(config: ConfigDict, found: Found) -> Parts:
  _check_run(config, found, False)
  weights = read_weights(found, "float32")
  params = weights.params if weights.task else {"encoder": weights.params}
  arrays = by_path({"params": params})
  given = (weights.config or task_config(weights)) if weights.task else None
  if not _is_same(config, given, found):
    arrays = {
      name if name.startswith(_ENCODER) else _unused(name): x
      for name, x in arrays.items()
    }

  def read(name: str, index: tuple[slice, ...], dtype: np.dtype) -> np.ndarray:
    # A single tensor of a file is read whole.
    found = arrays[name]
    if not hasattr(found, "__getitem__"):
      found = np.asarray(found)
    return np.asarray(found[index], dtype)

  def load(wanted: Shapes) -> dict[str, jax.Array]:
    # Each process gives its own devices their parts.
    return {
      name: jax.make_array_from_callback(
        x.shape,
        x.sharding,
        lambda index, name=name, dtype=x.dtype: read(name, index, dtype),
      )
      for name, x in wanted.items()
    }

  shapes = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()
  }
  size = weights.architecture.name
  origin = found.description + _rope_note(config, weights.rope_dtype)
  return Parts(origin, size, found.step or 0, shapes, load)


def _rope_note(config: ConfigDict, trained: str | None) -> str:
  """Says where rotations are not computed as the weights know them."""
  ours = config.model.rope_dtype
  if trained in (None, ours):
    return ""
  return f" (of model.rope_dtype={trained}; here it is {ours})"


def _is_same(
  config: ConfigDict, given: ConfigDict | None, found: Found
) -> bool:
  """Whether more than the encoder is of use.

  Args:
    config: of the new run.
    given: of the weights; None for those of an encoder.
    found: the weights, for the message.

  Raises:
    ValueError: they must have its head, and have another one.
  """
  name = task_name(config)
  if config.model.get("init_head"):
    if given is None or task_name(given) is None:
      raise ValueError(
        f"{found.description} holds no head, but model.init_head=True needs "
        f"that of {name}; give the weights of a task, or init_head=False"
      )
    before, after = _head_fields(given), _head_fields(config)
    wrong = [
      f"{field}={fields.show(before, field)}, "
      f"expected {fields.show(after, field)}"
      # Of another task all else is another, too.
      for field in (
        sorted(before | after) if task_name(given) == name else ["task.name"]
      )
      if before.get(field) != after.get(field)
    ]
    if wrong:
      raise ValueError(
        f"model.init_head=True, but the head of {found.description} has "
        f"{'; '.join(wrong)}. Set these fields to its values, or "
        "model.init_head=False for a new head"
      )
  if given is None or task_name(given) != name:
    return False
  # Other classes: a head of the same shape, in which each channel is another.
  labels = registry.config_labels(name) if name else ""
  given, wanted = (dict(fields.leaves(x)) for x in (given, config))
  same = given.get(labels) == wanted.get(labels)
  return config.model.init_parts != "encoder" and same


def _head_fields(config: ConfigDict) -> dict[str, Any]:
  """What the arrays of a head, and their meaning, depend on."""
  labels = registry.config_labels(config.task.name)
  return {
    field: value
    for field, value in fields.leaves(config)
    if field in ("task.name", labels) or field.startswith("head.")
  }


def _unused(name: str, owner: str | None = None) -> str:
  """The name that `Parts` give to what the new run has no place for."""
  top, group, *rest = name.split("/")
  if top == "opt_state":
    group = "optimizer"
  return "/".join((OTHER, owner or group, *rest))
