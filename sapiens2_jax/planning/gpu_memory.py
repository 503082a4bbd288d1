"""What a training step holds on a GPU, from its shapes: no GPU, no compiler.

The step that train.py runs is traced for one device and its share of a
microbatch; `liveness` finds the most that it holds at once. Devices share what
the rules of the config shard; a block's parameters are whole while it runs.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from ml_collections import ConfigDict

from sapiens2_jax.models import cudnn
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling, liveness
from sapiens2_jax.training import optimizer
from sapiens2_jax.training import state as state_lib


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on one device while it holds the most."""

  params: int
  optimizer: int
  ema: int
  gradients: int
  batch: int
  activations: int  # that the forward pass made
  workspace: int  # that the backward pass made, or the update

  @property
  def total(self) -> int:
    return sum(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class Traced:
  """The step of one device with its share of the batch."""

  jaxpr: core.Jaxpr
  state: state_lib.TrainState
  batches: dict[str, jax.ShapeDtypeStruct]


def measure(config: ConfigDict, platform: str, num_devices: int) -> Memory:
  """Bytes on one of the devices.

  Args:
    config: of the run, for all devices together.
    platform: "gpu", or "tpu" to compare with a compiler's account.
    num_devices: on the mesh of the config.

  Raises:
    ValueError: the mesh does not fit the devices or the model, or it cuts more
      than the batch and the parameters.
  """
  return account(trace(config, platform, num_devices), config, num_devices)


def trace(config: ConfigDict, platform: str, num_devices: int) -> Traced:
  """Traces the step; arguments and errors are those of `measure`."""
  data, fsdp, *others = mesh_lib.mesh_shape(config.mesh, num_devices)
  if max(others) > 1:
    raise ValueError(
      f"mesh.sequence={others[0]}, mesh.tensor={others[1]}: the account of "
      "GPUs knows data and fsdp alone; use 1 for both."
    )
  share = _share(config, data * fsdp)
  mesh = mesh_lib.abstract_mesh(share.mesh, 1, platform)
  step, state, batches = compiling.make_step(share, mesh)
  # In place of cuDNN, which JAX looks for when a program is traced.
  with replaced(cudnn, "kernel", _kernel):
    traced = step.trace(state, batches)
  return Traced(traced.jaxpr.jaxpr, state, batches)


def account(traced: Traced, config: ConfigDict, num_devices: int) -> Memory:
  """What a traced step holds, if devices share its state as the config says.

  Raises:
    ValueError: the mesh does not fit the devices or the model.
  """
  mesh = mesh_lib.abstract_mesh(config.mesh, num_devices)
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  shared = state_lib.abstract_state(config, objective, tx, mesh)
  size = compiling.device_bytes
  parts = {_parameter(x): size(x) for x in jax.tree.leaves(shared.params)}

  def label(aval, backward: bool) -> tuple[str, int]:
    if aval.ndim > 1 and _parameter(aval) in parts:
      return "gradients", parts[_parameter(aval)]
    name = "workspace" if backward else "activations"
    return name, liveness.size_of(aval)

  held = liveness.peak(traced.jaxpr, label)
  fsdp = mesh.shape["fsdp"]
  gathered = _gathered_bytes(traced.state.params) if fsdp > 1 else 0
  return Memory(
    params=size(shared.params),
    optimizer=size(shared.opt_state),
    ema=size(shared.teacher_state),
    gradients=held["gradients"],
    batch=size(traced.batches),
    activations=held["activations"],
    workspace=held["workspace"] + gathered,
  )


def _share(config: ConfigDict, parts: int) -> ConfigDict:
  """The config of one device, which sees a part of every microbatch.

  Raises:
    ValueError: the devices do not divide a microbatch.
  """
  data = config.data
  images, rest = divmod(data.global_batch_size, data.accumulation_steps * parts)
  if rest or not images:
    raise ValueError(
      f"data.global_batch_size={data.global_batch_size} in "
      f"{data.accumulation_steps} microbatch(es) is not divided by {parts} "
      "devices."
    )
  share = ConfigDict(config.to_dict())
  share.mesh = dict.fromkeys(mesh_lib.AXES, 1)
  share.data.global_batch_size = images * data.accumulation_steps
  if "koleo_group_size" in share.get("objective", {}):
    # Groups span devices; their features are small. One image has no other.
    group = math.gcd(share.objective.koleo_group_size, images)
    share.objective.koleo_group_size = group if group > 1 else images
    if images == 1:
      share.objective.w_koleo = 0.0
  return share


def _parameter(x) -> tuple:
  """What a gradient is known by."""
  return x.shape, x.dtype


def _gathered_bytes(params) -> int:
  """Of the parameters that are whole at once: a block's, or the largest."""
  by_module: dict[str, int] = {}
  for path, leaf in state_lib.by_path(params).items():
    size = liveness.size_of(leaf)
    stack, found, _ = path.partition("segment_")
    name = path
    if found:
      name, size = path[: len(stack) + len(found) + 1], size // leaf.shape[0]
    by_module[name] = by_module.get(name, 0) + size
  return max(by_module.values())


@jax.custom_vjp
def _kernel(q, k, v, lengths):
  return _opaque((q,), q, k, v)[0]


def _forward(q, k, v, lengths):
  b, n, h, _ = q.shape
  sums = jax.ShapeDtypeStruct((b, h, n), jnp.float32)
  out, sums = _opaque((q, sums), q, k, v)
  kept = jax.tree.map(cudnn.name_residual, (q, k, v, out, sums))
  return out, kept


def _backward(kept, gradient):
  q, k, v, *_ = kept
  summed = jax.ShapeDtypeStruct(q.shape, jnp.float32)  # of the queries
  *grads, _ = _opaque((q, k, v, summed), *kept, gradient)
  return *grads, None


_kernel.defvjp(_forward, _backward)


def _opaque(outputs: tuple, *inputs):
  """Arrays of some shapes, from something that needs all inputs."""
  shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs]
  return jax.pure_callback(None, shapes, *inputs)


@contextlib.contextmanager
def replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
  """Puts something in the place of what a module has under a name."""
  old = getattr(module, name)
  setattr(module, name, value)
  try:
    yield
  finally:
    setattr(module, name, old)
