"""Where a run starts: from its newest checkpoint, from weights or fresh."""

import json
import operator
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from sapiens2_jax import config as config_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.parallel import rules
from sapiens2_jax.runtime import distributed
from sapiens2_jax.training import checkpoints, matching, stages
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.matching import Parts
from sapiens2_jax.training.objective import Objective, Stage

# Fields that say what a run is for: another value is another run. Sets of names
# may differ and have arrays of the same shapes.
_PURPOSE = (
  "model.size:",
  "task.name:",
  "task.classes:",
  "task.keypoints:",
  "optim.name:",
)
# Groups that say which arrays there are.
_SHAPING = ("model.", "task.", "objective.", "optim.")
# What `model.init_from` of a config holds.
OpenParts = Callable[[ConfigDict], Parts]
# The stages of a run with a config.
GetStages = Callable[[ConfigDict], Sequence[Stage]]
# From a place to an encoder and its parameters.
LoadEncoder = Callable[[str], tuple[Encoder, dict]]


def check_fits(
  config: ConfigDict,
  workdir: str,
  found: checkpoints.Found | None,
  abstract: state_lib.TrainState,
  read_config: checkpoints.ReadConfig,
  get_stages: GetStages,
) -> None:
  """Compares what a run would continue with its config; changes nothing.

  Args:
    found: the newest checkpoint in `workdir`.

  Raises:
    ValueError: it is of a run for something else.
  """
  if found is None:
    return
  saved = read_config(json.dumps(found.run["config"]), workdir)
  unfit = checkpoints.unfit(found, abstract)
  changed = config_lib.differences(saved, config)
  others = [line for line in changed if line.startswith(_PURPOSE)]
  if others or unfit:
    fields = others or [x for x in changed if x.startswith(_SHAPING)] or changed
    raise ValueError(
      "\n  ".join(
        [
          f"workdir={workdir}: its checkpoint {found.step} was made with other "
          "fields, and cannot be continued with these:",
          *_few(fields, 12),
          *_few(unfit, 3),
          "Give a new --workdir, or the fields their old values. To start a "
          f"new run from its weights: --config.model.init_from={workdir}",
        ]
      )
    )
  _check_position(config, found.step, found.run["next_example"])
  if config.data.get("stages"):  # Only pretraining has the field.
    _check_stages(get_stages(saved), get_stages(config), found.step)


def _few(lines: list[str], most: int) -> list[str]:
  rest = len(lines) - most
  return lines[:most] + ([f"... and {rest} more"] if rest > 0 else [])


def _check_stages(
  saved: Sequence[Stage], wanted: Sequence[Stage], step: int
) -> None:
  """Borders are shares of all steps: more steps must not undo a stage."""
  before, now = (
    stages.stage_at(run, step).objective.config for run in (saved, wanted)
  )
  if before.data.image_size != now.data.image_size:
    height, width = now.data.image_size
    was = " x ".join(map(str, before.data.image_size))
    raise ValueError(
      f"data.stages={wanted[-1].objective.config.data.stages}: step {step + 1} "
      f"of optim.num_steps={now.optim.num_steps} would be at {height} x "
      f"{width} pixels; with optim.num_steps={before.optim.num_steps} of the "
      f"checkpoint it was to be at {was}. Give both fields their old values, "
      "other stages that agree at this step, or --config.data.stages= to go on "
      "at data.image_size."
    )


def _check_position(config: ConfigDict, step: int, next_example: int) -> None:
  if next_example % config.data.global_batch_size:
    raise ValueError(
      f"data.global_batch_size={config.data.global_batch_size} does not "
      f"divide the data position of the checkpoint, {next_example}."
    )
  # Only pretraining has the field. The images of a step tell its stage.
  is_staged = bool(config.data.get("stages"))
  if is_staged and next_example != step * config.data.global_batch_size:
    raise ValueError(
      f"data.global_batch_size={config.data.global_batch_size} is not that of "
      f"the {step} steps of the checkpoint, which have taken {next_example} "
      f"images; with data.stages={config.data.stages} it must stay."
    )


def restore_or_init(
  objective: Objective,
  checkpointer: Checkpointer,
  tx: optax.GradientTransformation,
  abstract: state_lib.TrainState,
  open_parts: OpenParts,
  load_encoder: LoadEncoder,
) -> tuple[state_lib.TrainState, int]:
  """The newest checkpoint, or a fresh state; and the next example.

  Raises:
    ValueError: weights or checkpoint do not fit the config.
  """
  config = objective.config
  step = checkpointer.latest_step()
  if step is None:
    print("start      fresh")
    parts = open_parts(config) if config.model.init_from else None
    found = _match(parts, abstract, config.model.size) if parts else None
    state = state_lib.init_state(config.seed, objective, tx, abstract)
    if parts:
      state = _take(parts, found, objective, state, abstract)
    return _load_frozen(objective, state, abstract, load_encoder), 0
  state, saved, next_example = checkpointer.restore(abstract)
  print(f"start      resumed at step {step}, example {next_example}")
  for line in config_lib.differences(saved, config):
    print(f"changed    {line}")
  before, now = checkpointer.saved_data, checkpointer.data
  if before and now and before != now:
    print(f"changed    data: {_describe(before)} -> {_describe(now)}")
  for name, frozen in objective.frozen_encoders.items():
    print(f"weights    {name} as saved; {frozen.source} is not read again")
  _check_position(config, step, next_example)
  return state, next_example


def _describe(data: dict) -> str:
  return f"{data['records']:,} images ({data['hash'][:12]})"


def _match(
  parts: Parts, abstract: state_lib.TrainState, size: str
) -> matching.Match:
  """What a run takes of `parts`; prints it.

  Raises:
    ValueError: the encoder is another one, or processes see different steps.
  """
  first = distributed.broadcast("init_from", parts.step)
  if first != parts.step:
    raise ValueError(
      f"model.init_from: {parts.origin} is step {first} for process 0; it is "
      "still being trained: run again."
    )
  found = matching.match(parts, abstract, size)
  print(f"weights    from {parts.origin}")
  for line in found.account():
    print(f"           {line}")
  return found


def _take(
  parts: Parts,
  found: matching.Match,
  objective: Objective,
  state: state_lib.TrainState,
  abstract: state_lib.TrainState,
) -> state_lib.TrainState:
  """Puts what fits in its place; what is new in a teacher is the student's."""
  drawn = state_lib.by_path(state)
  for name in found.matched:
    drawn[name].delete()  # Makes room.
  loaded = parts.load(found.matched)
  state = jax.tree_util.tree_map_with_path(
    lambda path, x: loaded.get(state_lib.path_name(path), x), state
  )
  restored = traverse_util.unflatten_dict(loaded, sep="/")
  init = jax.jit(
    lambda *given: nn.unbox(objective.init_teacher_state(*given)),
    out_shardings=rules.of_arrays(abstract.teacher_state),
  )
  teacher_state = init(state.params, restored.get("teacher_state", {}))
  return state.replace(teacher_state=teacher_state)


def _load_frozen(
  objective: Objective,
  state: state_lib.TrainState,
  abstract: state_lib.TrainState,
  load_encoder: LoadEncoder,
) -> state_lib.TrainState:
  """Gives the encoders that never change their weights.

  Raises:
    ValueError: they cannot be read, or are of another size than their field
      says.
  """
  teacher_state = dict(state.teacher_state)
  for name, (source, size) in objective.frozen_encoders.items():
    place, expected = operator.attrgetter(source, size)(objective.config)
    try:
      encoder, params = load_encoder(place)
    except ValueError as error:
      raise ValueError(f"{source}: {error}") from error
    if encoder.architecture.name != expected:
      raise ValueError(
        f"{source}={place} holds a {encoder.architecture.name}, expected "
        f"{size}={expected}."
      )
    print(f"weights    {name} from {place}")
    # Each process has all of them, and gives its own devices their parts.
    teacher_state[name] = jax.tree.map(
      lambda x, sharding: jax.make_array_from_callback(
        x.shape, sharding, np.asarray(x).__getitem__
      ),
      params,
      rules.of_arrays(abstract.teacher_state[name]),
    )
  return state.replace(teacher_state=teacher_state)
