"""Everything that changes during training, in one tree."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from jax.tree_util import KeyPath, keystr
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from sapiens2_jax.parallel import rules


@struct.dataclass
class TrainState:
  """Complete state of a run; the data position is kept beside it.

  Attributes:
    step: number of the next step, int32. Batches seen, applied or skipped.
    params: what is learned, float32.
    teacher_state: EMA teacher, statistics of the terms (center), float32.
    opt_state: of optax.
    rng: the run's key (data of a typed key), never changed.
    nonfinite_streak: updates skipped in a row for a non-finite loss or
      gradient, int32.
    nonfinite_total: updates skipped so far, int32.
  """

  step: Array
  params: Any
  teacher_state: Any
  opt_state: Any
  rng: Array
  nonfinite_streak: Array
  nonfinite_total: Array


def path_name(path: KeyPath) -> str:
  """The path of a leaf, e.g. "params/encoder/cls_token"."""
  return keystr(path, simple=True, separator="/")


def by_path(tree: Any) -> dict[str, Any]:
  """All leaves of a tree by their `path_name`."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {path_name(path): leaf for path, leaf in leaves}


def overlay(tree: Mapping, part: Mapping) -> dict:
  """Nested dicts with the leaves that `part` has in place of their own."""
  return {
    name: overlay(x, part.get(name, {}))
    if isinstance(x, Mapping)
    else part.get(name, x)
    for name, x in tree.items()
  }


def run_key(seed: int) -> PRNGKeyArray:
  """The key of a run, from which the objective draws."""
  return jax.random.split(jax.random.key(seed))[1]


def _init_boxed(rng: PRNGKeyArray, objective, tx) -> TrainState:
  init_rng, run_rng = jax.random.split(rng)  # As in `run_key`.
  params = objective.init(init_rng)
  zero = jnp.zeros((), jnp.int32)
  return TrainState(
    step=zero,
    params=params,
    teacher_state=objective.init_teacher_state(params),
    opt_state=tx.init(params),
    rng=jax.random.key_data(run_rng),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )


def abstract_state(
  config: ConfigDict, objective, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
  """Shapes, dtypes and shardings of the state; computes nothing.

  Raises:
    ValueError: the rules of `config.sharding` do not fit the mesh or the
      arrays.
  """
  boxed = jax.eval_shape(
    lambda rng: _init_boxed(rng, objective, tx), jax.random.key(config.seed)
  )
  logical = rules.read_rules(config.sharding, config.mesh)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    nn.unbox(boxed),
    rules.shardings(boxed, mesh, logical),
  )


def init_state(
  seed: int, objective, tx: optax.GradientTransformation, abstract: TrainState
) -> TrainState:
  """Draws the initial state, each device only its own part."""
  init = jax.jit(
    lambda rng: nn.unbox(_init_boxed(rng, objective, tx)),
    out_shardings=rules.of_arrays(abstract),
  )
  return init(jax.random.key(seed))
