"""A training workdir with one checkpoint, without training."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.config import load_module
from sapiens2_jax.interop import convert
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import TrainState
from sapiens2_jax.validation import read_config
from tests import tiny
from tests.interop import samples, task_samples

_EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"


def toy_params(sign: float = 1.0):
  """Formula weights of `toy`; `sign` tells two sets apart."""
  _, _, params = convert.params_from_tensors(
    samples.lazy(samples.arrays(samples.TOY)), origin="formula"
  )
  return jax.tree.map(lambda x: jnp.asarray(sign * x), params)


def write_run(workdir, *overrides: str, step: int = 3):
  """Saves a teacher of formula weights and a student of their negative."""
  config = tiny.load_config("model.size=toy", *overrides)
  params = {"encoder": toy_params(-1.0), "head": {"kernel": jnp.ones((2, 2))}}
  teacher_state = {"teacher": {"encoder": toy_params()}, "center": jnp.zeros(4)}
  return write_checkpoint(workdir, config, params, teacher_state, step)


def task_params(task: str, size: str = "tiny"):
  """Formula weights of a head of `task_samples`, and of its encoder."""
  arch = ARCHITECTURES[size]
  named = task_samples.arrays(task_samples.HEADS[task], arch=arch)
  _, _, params = convert.params_from_tensors(
    samples.lazy(named), origin="formula"
  )
  return jax.tree.map(jnp.asarray, params)


def task_config(task: str, size: str = "tiny"):
  """Fine-tuning of a head of `task_samples`."""
  finetune = load_module(_EXPERIMENTS / "finetune.py")
  config = finetune.get_config(f"task={task},size=toy")
  config.head = task_samples.HEADS[task].widths
  config.model.update(size=size, rope_dtype="bfloat16")
  config.data.update(image_size=task_samples.IMAGE_SIZE)
  return config


def write_task_run(
  workdir, task: str, size: str = "tiny", step: int = 3, **data
):
  """Saves a fine-tuning run of formula weights; `data` are config fields."""
  config, params = task_config(task, size), task_params(task, size)
  config.data.update(data)
  return write_checkpoint(workdir, config, params, {}, step)


def write_checkpoint(workdir, config, params, teacher_state, step):
  zero = jnp.zeros((), jnp.int32)
  state = TrainState(
    step=jnp.asarray(step, jnp.int32),
    params=params,
    teacher_state=teacher_state,
    opt_state=(),
    rng=jax.random.key_data(jax.random.key(0)),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )
  checkpointer = Checkpointer(str(workdir), config, read_config)
  checkpointer.save(state, step, 0)
  checkpointer.close()
  return workdir


def as_numpy(params):
  return jax.tree.map(np.asarray, params)
