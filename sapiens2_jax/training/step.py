"""One update, as a pure function, and where it is jitted."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.models import from_config
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.parallel import rules
from sapiens2_jax.parallel.whole_weights import Gather
from sapiens2_jax.training import freezing, schedules
from sapiens2_jax.training.rows import (
  OnMesh,
  part_of,
  replicate,
  row_sharding,
)
from sapiens2_jax.training.state import TrainState

Metrics = dict[str, Array]
# When weights that are cut along `fsdp` are gathered, by `model.gather`.
GATHERS = {"block": lambda dtype: None, "step": Gather}


def _mean_over_microbatches(function, params, batches, targets, finish):
  """Mean loss gradient and metrics over microbatches (leading axis).

  `finish` is applied to the gradient of each microbatch.
  """
  count = jax.tree.leaves(batches)[0].shape[0]

  def one(batch, target):
    grad = jax.grad(function, has_aux=True)
    grads, metrics = grad(params, batch, target)
    return finish(grads), metrics

  if count == 1:
    return one(*jax.tree.map(lambda x: x[0], (batches, targets)))

  def add(total, microbatch):
    return jax.tree.map(jnp.add, total, one(*microbatch)), None

  shapes = jax.eval_shape(
    one, *jax.tree.map(lambda x: x[0], (batches, targets))
  )
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  total, _ = lax.scan(add, zeros, (batches, targets))
  return jax.tree.map(lambda x: x / count, total)


def train_step(
  state: TrainState,
  batches: dict[str, Array],
  *,
  objective,
  tx: optax.GradientTransformation,
  optim: ConfigDict,
  measure_every: int,
  gather: Gather | None = None,
  abstract: TrainState | None = None,
) -> tuple[TrainState, Metrics]:
  """One update of parameters, optimizer and teacher state. Pure.

  A non-finite loss or gradient leaves everything but the step and the
  counters as it was.

  Args:
    state: of the run.
    batches: leaves (microbatches, b, ...); gradients are averaged over them.
    objective: see `training.objective`.
    tx: the optimizer; its updates are multiplied by minus the learning rate.
    optim: the config group with the schedule.
    measure_every: metrics that cost something are computed at multiples of
      this step, and are NaN at others.
    gather: makes weights whole once for all microbatches; None: the compiler
      gathers them where they are used.
    abstract: shapes and shardings of the state, which `gather` needs.

  Returns:
    The new state, and float32 scalars of this step.
  """
  rng = jax.random.wrap_key_data(state.rng)
  lr = schedules.learning_rate(optim, state.step)
  weights, teacher, finish = state.params, state.teacher_state, lambda x: x
  if gather is not None:
    weights = gather.whole(weights, abstract.params)
    teacher = gather.whole(teacher, abstract.teacher_state)
    finish = functools.partial(gather.cut, abstract=abstract.params)
  targets, statistics, teacher_metrics = objective.compute_targets(
    teacher, batches, state.step, rng
  )
  measure = state.step % measure_every == 0
  loss = functools.partial(objective.loss, rng=rng, measure=measure)
  grads, metrics = _mean_over_microbatches(
    loss, weights, batches, targets, finish
  )
  # Only pretraining has the field.
  num_held = optim.get("freeze_encoder_steps", 0)
  hold = functools.partial(freezing.hold_encoder, is_held=state.step < num_held)
  if num_held:
    grads = hold(grads, jax.tree.map(jnp.zeros_like, grads))
  grad_norm = optax.global_norm(grads)
  is_finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)

  with jax.named_scope("update"):
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p - lr * u, state.params, updates)
    teacher_state = objective.update_teacher_state(
      state.teacher_state, params, statistics
    )
    if num_held:
      params, opt_state, teacher_state = hold(
        (params, opt_state, teacher_state),
        (state.params, state.opt_state, state.teacher_state),
      )

  def keep(new, old):
    return jax.tree.map(lambda n, o: jnp.where(is_finite, n, o), new, old)

  skipped = (~is_finite).astype(jnp.int32)
  new_state = TrainState(
    step=state.step + 1,
    params=keep(params, state.params),
    teacher_state=keep(teacher_state, state.teacher_state),
    opt_state=keep(opt_state, state.opt_state),
    rng=state.rng,
    nonfinite_streak=(state.nonfinite_streak + 1) * skipped,
    nonfinite_total=state.nonfinite_total + skipped,
  )
  metrics = {
    **metrics,
    **teacher_metrics,
    "grad_norm": grad_norm,
    "lr": lr,
    "nonfinite_streak": new_state.nonfinite_streak,
    "nonfinite_total": new_state.nonfinite_total,
  }
  return new_state, metrics


def _jit_on_rows(function, shardings, config: ConfigDict, mesh: Mesh) -> OnMesh:
  """A function (params, rows (b, ...)) -> (b, ...), compiled for the mesh.

  Args:
    function: of both.
    shardings: of the params.
    config: with the groups `mesh` and `sharding`.
    mesh: that of the config.
  """
  logical = rules.read_rules(config.sharding, config.mesh)

  def apply(params, rows):
    with rules.logical_constraints(mesh, logical):
      return function(params, rows)

  rows = row_sharding(mesh)
  jitted = jax.jit(apply, in_shardings=(shardings, rows), out_shardings=rows)
  return OnMesh(jitted, mesh, part_of(mesh))


def jit_on_devices(function, devices: list | None = None) -> OnMesh:
  """Compiles a function for devices that share the rows of a batch.

  Args:
    function: (params, rows (b, ...)) -> arrays (b, ...); params are whole on
      every device.
    devices: all of this process's or none of another's; None: of the job.
  """
  axes = dict.fromkeys(mesh_lib.AXES, 1) | {"data": -1}
  config = ConfigDict({"mesh": axes, "sharding": {}})
  mesh = mesh_lib.make_mesh(config.mesh, devices)
  return _jit_on_rows(function, mesh_lib.replicated(mesh), config, mesh)


class Spread(NamedTuple):
  """A model on several devices.

  Attributes:
    apply_fn: (params, rows (b, ...)) -> arrays (b, ...), of this process.
    params: of the model, whole on every device.
    batch_size: b, of this process.
  """

  apply_fn: OnMesh
  params: Any
  batch_size: int


def spread(apply_fn: OnMesh, params, batch_size: int) -> Spread:
  """A compiled model, and its parameters on all devices of its mesh.

  Args:
    apply_fn: of `jit_on_devices`.
    params: its first argument; the same in all processes.
    batch_size: rows of one device at once.
  """
  rows = batch_size * len(apply_fn.mesh.local_devices)
  return Spread(apply_fn, replicate(params, apply_fn.mesh), rows)


def jit_spread(
  function, params, batch_size: int, devices: list | None = None
) -> Spread:
  """See `jit_on_devices` and `spread`."""
  return spread(jit_on_devices(function, devices), params, batch_size)


def jit_predict(
  objective, config: ConfigDict, mesh: Mesh, abstract: TrainState
) -> OnMesh:
  """(params, images (b, h, w, 3) uint8) -> outputs, on the mesh of a run."""
  shardings = rules.of_arrays(abstract.params)
  return _jit_on_rows(objective.predict, shardings, config, mesh)


def jit_encode(
  objective, config: ConfigDict, mesh: Mesh, abstract: TrainState
) -> OnMesh:
  """(encoder params, uint8 images) -> cls and patches; see `jit_predict`."""

  def encode(params, images):
    pixels = pixel_lib.from_uint8(images)
    out = objective.encoder.apply({"params": params}, pixels)
    return {"cls": out.cls, "patches": out.patches}

  shardings = rules.of_arrays(objective.encoder_params(abstract))
  return _jit_on_rows(encode, shardings, config, mesh)


def jit_train_step(
  objective,
  tx: optax.GradientTransformation,
  config: ConfigDict,
  mesh: Mesh,
  abstract: TrainState,
):
  """The compiled step: donates the state, keeps every sharding.

  Returns:
    A function (state, batches) -> (state, metrics).
  """
  state_shardings = rules.of_arrays(abstract)
  logical = rules.read_rules(config.sharding, config.mesh)
  make_gather = errors.lookup(GATHERS, config.model.gather, "model.gather")
  gather = make_gather(from_config.compute_dtype(config.model))

  def step(state, batches):
    with rules.logical_constraints(mesh, logical):
      return train_step(
        state,
        batches,
        objective=objective,
        tx=tx,
        optim=config.optim,
        measure_every=config.logging.every,
        gather=gather,
        abstract=abstract,
      )

  return jax.jit(
    step,
    in_shardings=(state_shardings, mesh_lib.batch_sharding(mesh)),
    out_shardings=(state_shardings, mesh_lib.replicated(mesh)),
    donate_argnums=0,
  )
