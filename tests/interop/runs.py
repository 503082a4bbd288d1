"""A training workdir with one checkpoint, without training."""

import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.interop import convert
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import TrainState
from tests import tiny
from tests.interop import samples


def toy_params(sign: float = 1.0):
  """Formula weights of `toy`; `sign` tells two sets apart."""
  _, _, params = convert.params_from_tensors(
    samples.lazy(samples.arrays(samples.TOY)), origin="formula"
  )
  return jax.tree.map(lambda x: jnp.asarray(sign * x), params)


def write_run(workdir, *overrides: str, step: int = 3):
  """Saves a teacher of formula weights and a student of their negative."""
  config = tiny.load_config("model.size=toy", *overrides)
  zero = jnp.zeros((), jnp.int32)
  state = TrainState(
    step=jnp.asarray(step, jnp.int32),
    params={"encoder": toy_params(-1.0), "head": {"kernel": jnp.ones((2, 2))}},
    carried={"teacher": {"encoder": toy_params()}, "center": jnp.zeros(4)},
    opt_state=(),
    rng=jax.random.key_data(jax.random.key(0)),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )
  checkpointer = Checkpointer(str(workdir), config)
  checkpointer.save(state, step, 0)
  checkpointer.close()
  return workdir


def as_numpy(params):
  return jax.tree.map(np.asarray, params)
