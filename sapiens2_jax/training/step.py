"""One update, as a pure function, and where it is jitted."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.models import from_config
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.parallel import rules
from sapiens2_jax.parallel.gathering import Gather
from sapiens2_jax.training import schedules
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
  grad_norm = optax.global_norm(grads)
  is_finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)

  with jax.named_scope("update"):
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p - lr * u, state.params, updates)
    teacher_state = objective.update_teacher_state(
      state.teacher_state, params, statistics
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


def _jit_on_images(
  function, params, config: ConfigDict, mesh: Mesh, *, gather: bool = True
):
  """A function (params, images (b, h, w, 3) uint8), compiled for the mesh.

  Its outputs are whole on every device, or lie as the images do; b is divided
  by data * fsdp.
  """
  logical = rules.read_rules(config.sharding, config.mesh)

  def apply(params, images):
    with rules.logical_constraints(mesh, logical):
      return function(params, images)

  images = NamedSharding(mesh, PartitionSpec(mesh_lib.BATCH_AXES))
  return jax.jit(
    apply,
    in_shardings=(rules.of_arrays(params), images),
    out_shardings=mesh_lib.replicated(mesh) if gather else images,
  )


class Spread(NamedTuple):
  """A model on several devices.

  Attributes:
    apply_fn: (params, images (b, h, w, 3) uint8) -> arrays (b, ...).
    params: of the model, whole on every device.
    batch_size: b, of all devices.
  """

  apply_fn: Callable
  params: Any
  batch_size: int


def jit_spread(
  function, params, batch_size: int, devices: list | None = None
) -> Spread:
  """Compiles a model for devices of this process, each a part of a batch.

  Args:
    function: (params, images (b, h, w, 3) uint8) -> arrays (b, ...).
    params: its first argument.
    batch_size: images of one device at once.
    devices: None for all of this process.
  """
  axes = dict.fromkeys(mesh_lib.AXES, 1) | {"data": -1}
  config = ConfigDict({"mesh": axes, "sharding": {}})
  mesh = mesh_lib.make_mesh(config.mesh, devices or jax.local_devices())
  params = jax.device_put(params, mesh_lib.replicated(mesh))
  apply_fn = _jit_on_images(function, params, config, mesh, gather=False)
  return Spread(apply_fn, params, batch_size * mesh.size)


def jit_predict(
  objective, config: ConfigDict, mesh: Mesh, abstract: TrainState
):
  """(params, images (b, h, w, 3) uint8) -> outputs; see `_jit_on_images`."""
  return _jit_on_images(objective.predict, abstract.params, config, mesh)


def jit_encode(objective, config: ConfigDict, mesh: Mesh, abstract: TrainState):
  """(encoder params, uint8 images) -> cls and patches; see `_jit_on_images`."""

  def encode(params, images):
    pixels = pixel_lib.from_uint8(images)
    out = objective.encoder.apply({"params": params}, pixels)
    return {"cls": out.cls, "patches": out.patches}

  params = objective.encoder_params(abstract)
  return _jit_on_images(encode, params, config, mesh)


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
