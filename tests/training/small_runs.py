"""Checkpoints of a few small arrays, in which every kind of file appears."""

import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.training import checkpoints
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import TrainState
from sapiens2_jax.validation import read_config
from tests import tiny

STEPS = (10, 20, 30)
BATCH = 16


def make_state(step: int) -> TrainState:
  """A state that tells its step."""
  rng = np.random.default_rng(step)

  def draw(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32))

  params = {"encoder": {"stack": draw(3, 16, 20), "bias": draw(3, 20)}}
  zero = jnp.zeros((), jnp.int32)
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    params=params,
    teacher_state={"center": draw(40)},
    opt_state={"mu": jax.tree.map(jnp.sin, params)},
    rng=jnp.asarray([0, 5], jnp.uint32),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )


def abstract_state() -> TrainState:
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    make_state(0),
  )


def open_run(workdir, *overrides: str, **more) -> Checkpointer:
  config = tiny.load_config("checkpoint.keep_last=5", *overrides)
  return Checkpointer(str(workdir), config, read_config, **more)


def save(workdir, steps=STEPS, **more) -> None:
  """Saves checkpoints of these steps."""
  checkpointer = open_run(workdir, **more)
  for step in steps:
    checkpointer.save(make_state(step), step, BATCH * step)
  checkpointer.close()


def restore(workdir, *overrides: str) -> tuple[int, TrainState]:
  """What a restart of the run goes on from: its step, and its state."""
  checkpointer = open_run(workdir, *overrides)
  try:
    state, _, next_example = checkpointer.restore(abstract_state())
  finally:
    checkpointer.close()
  assert next_example == BATCH * int(state.step)
  return int(state.step), state


def path(workdir, step: int) -> pathlib.Path:
  return pathlib.Path(checkpoints.directory(str(workdir))) / str(step)


def assert_state_of(step: int, found: tuple[int, TrainState]) -> None:
  """What `restore` found is what was saved at a step."""
  assert found[0] == step
  chex.assert_trees_all_equal(found[1], make_state(step))


def largest(checkpoint: pathlib.Path) -> pathlib.Path:
  """The file with most of the arrays' values."""
  files = (checkpoint / "state" / "ocdbt.process_0" / "d").iterdir()
  return max(files, key=lambda file: file.stat().st_size)


def flip(file: pathlib.Path, position: int = 0) -> None:
  """Changes one bit."""
  data = bytearray(file.read_bytes())
  data[position] ^= 4
  file.write_bytes(data)
