"""Where a run starts: from its newest checkpoint, from weights or fresh."""

from collections.abc import Callable

import jax
import numpy as np
import optax

from sapiens2_jax import config as config_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.parallel import rules
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.objective import Objective

# From what `model.init_from` says to an encoder and its parameters.
LoadWeights = Callable[[str], tuple[Encoder, dict]]


def restore_or_init(
  objective: Objective,
  checkpointer: Checkpointer,
  tx: optax.GradientTransformation,
  abstract: state_lib.TrainState,
  load_weights: LoadWeights,
) -> tuple[state_lib.TrainState, int]:
  """The newest checkpoint, or a fresh state; and the next example.

  Raises:
    ValueError: weights or checkpoint do not fit the config.
  """
  config = objective.config
  step = checkpointer.latest_step()
  if step is None:
    print("start      fresh")
    state = state_lib.init_state(config.seed, objective, tx, abstract)
    if config.model.init_from:
      state = _start_from_weights(objective, state, abstract, load_weights)
    return state, 0
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
  objective: Objective,
  state: state_lib.TrainState,
  abstract: state_lib.TrainState,
  load_weights: LoadWeights,
) -> state_lib.TrainState:
  """Replaces the encoders by `model.init_from`; heads stay as they are."""
  model = objective.config.model
  try:
    encoder, params = load_weights(model.init_from)
  except ValueError as error:
    raise ValueError(f"model.init_from: {error}") from error
  if encoder.architecture.name != model.size:
    raise ValueError(
      f"model.init_from={model.init_from} holds a "
      f"{encoder.architecture.name}, expected model.size={model.size}."
    )
  print(f"weights    encoder from {model.init_from}")
  # Each process has all of them, and gives its own devices their parts.
  placed = jax.tree.map(
    lambda x, sharding: jax.make_array_from_callback(
      x.shape, sharding, np.asarray(x).__getitem__
    ),
    params,
    rules.of_arrays(objective.encoder_params(abstract)),
  )
  params = {**state.params, "encoder": placed}
  init = jax.jit(
    objective.init_teacher_state,
    out_shardings=rules.of_arrays(abstract.teacher_state),
  )
  return state.replace(params=params, teacher_state=init(params))
