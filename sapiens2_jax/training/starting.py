"""Where a run starts: from its newest checkpoint, from weights or fresh."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sapiens2_jax import config as config_lib
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer


def restore_or_init(
  config: ConfigDict, checkpointer: Checkpointer, objective, tx, abstract
) -> tuple[state_lib.TrainState, int]:
  """The newest checkpoint, or a fresh state; and the next example."""
  step = checkpointer.latest_step()
  if step is None:
    print("start      fresh")
    state = state_lib.init_state(config.seed, objective, tx, abstract)
    return _start_from_weights(config, state, abstract), 0
  state, saved, next_example = checkpointer.restore(abstract)
  print(f"start      resumed at step {step}, example {next_example}")
  for line in config_lib.differences(saved, config):
    print(f"changed    {line}")
  if next_example % config.data.global_batch_size:
    raise ValueError(
      f"data.global_batch_size={config.data.global_batch_size} does not "
      f"divide the data position of the checkpoint, {next_example}."
    )
  return state, next_example


def _start_from_weights(
  config: ConfigDict, state: state_lib.TrainState, abstract
) -> state_lib.TrainState:
  """Replaces the encoders by `model.init_from`, if that is set.

  A head keeps its initial values.
  """
  if not config.model.init_from:
    return state
  from sapiens2_jax.interop.load import load_pretrained

  try:
    encoder, params = load_pretrained(config.model.init_from)
  except ValueError as error:
    raise ValueError(f"model.init_from: {error}") from error
  if encoder.architecture.name != config.model.size:
    raise ValueError(
      f"model.init_from={config.model.init_from} holds a "
      f"{encoder.architecture.name}, expected model.size={config.model.size}."
    )
  shardings = jax.tree.map(lambda x: x.sharding, abstract.params["encoder"])
  print(f"weights    encoder from {config.model.init_from}")
  # Each process has all of them, and gives its own devices their parts.
  placed = jax.tree.map(
    lambda x, sharding: jax.make_array_from_callback(
      x.shape, sharding, np.asarray(x).__getitem__
    ),
    params,
    shardings,
  )
  # Copies: the step donates the state, so no two leaves may share memory.
  state.params["encoder"] = jax.tree.map(jnp.copy, placed)
  if "teacher" in state.teacher_state:
    state.teacher_state["teacher"]["encoder"] = jax.tree.map(jnp.copy, placed)
  return state
