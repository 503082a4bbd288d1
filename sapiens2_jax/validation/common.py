"""Checks of what every run has: data, optimizer, mesh, checkpoints."""

from ml_collections import ConfigDict

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.models.attention import BACKENDS
from sapiens2_jax.models.block import REMAT_POLICIES
from sapiens2_jax.models.from_config import DTYPES
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.parallel import mesh, rules
from sapiens2_jax.training.optimizer import OPTIMIZERS
from sapiens2_jax.training.schedules import SCHEDULES
from sapiens2_jax.validation.bounds import Bounds, Problems

_BOUNDS = Bounds(
  minimum={
    "model.layer_scale_init": 0,
    "data.global_batch_size": 1,
    "data.accumulation_steps": 1,
    "data.num_workers": 0,
    "data.prefetch": 1,
    "data.device_prefetch": 1,
    "data.read_attempts": 1,
    "data.max_pixels": 1,
    "optim.num_steps": 1,
    "optim.warmup_steps": 0,
    "optim.peak_lr": 0,
    "optim.final_lr": 0,
    "optim.weight_decay": 0,
    "optim.max_nonfinite_steps": 1,
    "checkpoint.every": 0,
    "checkpoint.local_every": 0,
    "checkpoint.keep_last": 1,
    "checkpoint.keep_every": 1,
    "logging.every": 1,
  },
  positive=(
    "data.read_timeout",
    "data.batch_timeout",
    "checkpoint.mtbf_hours",
    "distributed.start_timeout",
    "distributed.heartbeat_timeout",
    "watchdog.timeout",
    "watchdog.start_timeout",
    "optim.eps",
    "optim.clip_norm",
    "optim.layer_decay",
  ),
  shares=(
    "data.max_skipped_share",
    "optim.b1",
    "optim.b2",
    "optim.layer_decay",
  ),
  names={
    "model.size": ARCHITECTURES,
    "model.rope_dtype": TABLES,
    "model.dtype": DTYPES,
    "model.remat": REMAT_POLICIES,
    "model.attention_backend": {"auto": None, **BACKENDS},
    "optim.name": OPTIMIZERS,
    "optim.schedule": SCHEDULES,
    "optim.moments_dtype": DTYPES,
  },
)


def _check_batch(config: ConfigDict, num_devices: int) -> Problems:
  data = config.data
  problems, shards = [], 1
  try:
    shape = mesh.mesh_shape(
      {axis: config.mesh[axis] for axis in mesh.AXES}, num_devices
    )
    shards = shape[0] * shape[1]
  except ValueError as error:
    problems.append(("mesh", str(error)))
  if min(data.global_batch_size, data.accumulation_steps) < 1:
    return problems
  given = f"data.global_batch_size={data.global_batch_size}"
  micro, rest = divmod(data.global_batch_size, data.accumulation_steps)
  if rest:
    problems.append(
      (given, f"not divided by accumulation_steps={data.accumulation_steps}")
    )
  if micro % shards:
    problems.append(
      (
        given,
        f"a microbatch of {micro} is not divided by data * fsdp = {shards}",
      )
    )
  return problems


def _check_local(config: ConfigDict) -> Problems:
  checkpoint = config.checkpoint
  if not checkpoint.local_every or checkpoint.local_directory:
    return []
  return [
    (
      f"checkpoint.local_every={checkpoint.local_every}",
      "needs checkpoint.local_directory, on a disk of each host",
    )
  ]


def _check_timeouts(config: ConfigDict) -> Problems:
  timeout, batch_timeout = config.watchdog.timeout, config.data.batch_timeout
  if timeout > batch_timeout:
    return []
  return [
    (
      f"watchdog.timeout={timeout}",
      f"must be above data.batch_timeout={batch_timeout}, or a process that "
      "waits for another one's data ends first",
    )
  ]


def check_tensor_axis(tensor: int, heads: set[int]) -> Problems:
  """Whether the mesh axis `tensor` divides all these numbers of heads."""
  return [
    (f"mesh.tensor={tensor}", f"does not divide {number} heads")
    for number in sorted(heads)
    if tensor > 1 and number % tensor
  ]


def _check_heads(config: ConfigDict) -> Problems:
  arch = ARCHITECTURES.get(config.model.size)
  heads = set() if arch is None else {*arch.num_kv_heads}
  return check_tensor_axis(config.mesh.tensor, heads)


def _check_sharding(config: ConfigDict) -> Problems:
  try:
    rules.read_rules(config.sharding, config.mesh)
  except ValueError as error:
    return [("sharding", str(error))]
  return []


def validate(config: ConfigDict, num_devices: int) -> Problems:
  """Finds what is wrong with the fields that every run has."""
  return (
    _BOUNDS.check(config)
    + _check_local(config)
    + _check_timeouts(config)
    + _check_heads(config)
    + _check_sharding(config)
    + _check_batch(config, num_devices)
  )
