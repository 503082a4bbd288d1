"""Where a run starts: from its newest checkpoint, from weights or fresh."""

import operator
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from sapiens2_jax import config as config_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.parallel import rules
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.objective import Objective

# From what e.g. `model.init_from` says to an encoder and its parameters.
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
    return _load_frozen(objective, state, abstract, load_weights), 0
  state, saved, next_example = checkpointer.restore(abstract)
  print(f"start      resumed at step {step}, example {next_example}")
  for line in config_lib.differences(saved, config):
    print(f"changed    {line}")
  for name, frozen in objective.frozen_encoders.items():
    print(f"weights    {name} as saved; {frozen.source} is not read again")
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
  config, name = objective.config, "encoder"
  given = _read(config, name, "model.init_from", "model.size", load_weights)
  placed = _place(given, objective.encoder_params(abstract))
  params = {**state.params, name: placed}
  init = jax.jit(
    lambda params: nn.unbox(objective.init_teacher_state(params)),
    out_shardings=rules.of_arrays(abstract.teacher_state),
  )
  return state.replace(params=params, teacher_state=init(params))


def _load_frozen(
  objective: Objective,
  state: state_lib.TrainState,
  abstract: state_lib.TrainState,
  load_weights: LoadWeights,
) -> state_lib.TrainState:
  """Gives the encoders that never change their weights."""
  teacher_state = dict(state.teacher_state)
  for name, frozen in objective.frozen_encoders.items():
    given = _read(objective.config, name, *frozen, load_weights)
    teacher_state[name] = _place(given, abstract.teacher_state[name])
  return state.replace(teacher_state=teacher_state)


def _read(
  config: ConfigDict,
  name: str,
  source: str,
  size: str,
  load_weights: LoadWeights,
) -> dict:
  """Parameters of the encoder `name` from where the field `source` says.

  Raises:
    ValueError: they cannot be read, or are of another size than the field
      `size` says.
  """
  place, expected = operator.attrgetter(source, size)(config)
  try:
    encoder, params = load_weights(place)
  except ValueError as error:
    raise ValueError(f"{source}: {error}") from error
  if encoder.architecture.name != expected:
    raise ValueError(
      f"{source}={place} holds a {encoder.architecture.name}, expected "
      f"{size}={expected}."
    )
  print(f"weights    {name} from {place}")
  return params


def _place(params: dict, abstract: dict) -> dict:
  """Each process has all of them, and gives its own devices their parts."""
  return jax.tree.map(
    lambda x, sharding: jax.make_array_from_callback(
      x.shape, sharding, np.asarray(x).__getitem__
    ),
    params,
    rules.of_arrays(abstract),
  )
