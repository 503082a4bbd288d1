"""A plan: whether a step fits, how fast it should be, what it is made of."""

import dataclasses

from ml_collections import ConfigDict

from sapiens2_jax.chips import Chip
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.planning import compiling, hlo
from sapiens2_jax.planning.calibration import (
  Calibration,
  Spread,
  find_calibration,
)
from sapiens2_jax.planning.estimate import Estimate, estimate

_COLLECTIVE_FIELDS = "kind axes runs bytes seconds asynchronous_seconds".split()
_DAY = 86_400
BILLION = 1_000_000_000
# A program that fills memory to the last byte cannot grow by a transfer.
FIT_FRACTION = 0.9


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of HBM on one device, by the compiler's account."""

  params: int
  optimizer: int
  ema: int
  batch: int
  activations: int  # kept for the backward pass
  temporaries: int  # all other buffers and code

  @property
  def total(self) -> int:
    return sum(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is known about a configuration on a topology.

  Memory and cost are None if the step does not fit; then nothing is known of
  its speed.
  """

  config: ConfigDict
  topology: str  # e.g. "v5p:4x4x4"
  num_slices: int  # joined by the data-centre network
  num_devices: int  # in all
  chip: Chip
  useful_flops: float  # of a step on one device, in closed form
  hbm_bytes: float  # of one device
  memory: Memory | None
  cost: Estimate | None
  has_cycles: bool = True  # of the compiler; not if it made no code
  stage_steps: int | None = None  # None: those of the config

  @property
  def num_steps(self) -> int:
    """How many steps are of this kind."""
    return self.stage_steps or self.config.optim.num_steps

  @property
  def hbm_fraction(self) -> float:
    return self.hbm_bytes / self.chip.hbm_bytes

  @property
  def fits(self) -> bool:
    return self.cost is not None and self.hbm_fraction < FIT_FRACTION

  @property
  def calibration(self) -> Calibration:
    return find_calibration(self.chip.name)

  @property
  def step_seconds(self) -> Spread:
    """Of a step, calibrated: as fast, as usual, as slow as measured runs."""
    return self.calibration.correct(self.cost.step_seconds)

  def mfu_in(self, seconds: float) -> float:
    """Useful FLOPs over what the chip could do in this time."""
    return self.useful_flops / (seconds * self.chip.peak_flops)

  @property
  def mfu(self) -> float:
    return self.mfu_in(self.step_seconds.median)

  @property
  def images_per_second(self) -> float:
    """Of all devices together."""
    return self.config.data.global_batch_size / self.step_seconds.median

  def days(self, num_images: int) -> float:
    return num_images / self.images_per_second / _DAY

  @property
  def days_for_all_steps(self) -> float:
    return self.days(self.num_steps * self.config.data.global_batch_size)


def make_plan(
  config: ConfigDict,
  topology: str,
  num_slices: int,
  num_devices: int,
  is_fast: bool = False,
  stage_steps: int | None = None,
) -> Plan:
  """Compiles the step and takes its account.

  Fast: the compiler makes no code, and nothing is known of its cycles.
  `stage_steps`: how many steps are of this kind, if not all.

  Raises:
    ValueError: the mesh does not fit the devices or the model.
  """
  useful = build_objective(config).flops() * config.data.global_batch_size
  known = {
    "config": config,
    "topology": topology,
    "num_slices": num_slices,
    "num_devices": num_devices,
    "chip": compiling.parse_topology(topology),
    "useful_flops": useful / num_devices,
    "stage_steps": stage_steps,
  }
  try:
    step = compiling.compile_step(config, topology, num_slices, is_fast)
  except compiling.TooLargeError as error:
    return Plan(**known, hbm_bytes=error.used, memory=None, cost=None)
  program = hlo.parse(step.text)
  cost = estimate(program, step.mesh, known["chip"])
  memory = _memory(step, cost.activation_bytes)
  return Plan(
    **known,
    hbm_bytes=memory.total,
    memory=memory,
    cost=cost,
    has_cycles=step.has_cycles,
  )


def _memory(step: compiling.CompiledStep, activations: int) -> Memory:
  size = compiling.device_bytes
  state = step.state
  parts = {
    "params": size(state.params),
    "optimizer": size(state.opt_state),
    "ema": size(state.teacher_state),
    "batch": size(step.batches),
  }
  rest = step.hbm_bytes - sum(parts.values())
  activations = min(activations, rest)
  return Memory(
    **parts, activations=activations, temporaries=rest - activations
  )


def to_json(plan: Plan) -> dict:
  """All numbers of a plan, for programs; bytes, FLOPs and seconds."""
  config, cost = plan.config, plan.cost
  out = {
    "size": config.model.size,
    "topology": plan.topology,
    "num_slices": plan.num_slices,
    "num_devices": plan.num_devices,
    "mesh": config.mesh.to_dict(),
    "global_batch_size": config.data.global_batch_size,
    "accumulation_steps": config.data.accumulation_steps,
    "remat": config.model.remat,
    "gather": config.model.gather,
    "fits": plan.fits,
    "hbm_bytes": plan.hbm_bytes,
    "hbm_limit": plan.chip.hbm_bytes,
    "hbm_fraction": plan.hbm_fraction,
    "useful_flops": plan.useful_flops,
  }
  if cost is None:
    return out
  return {
    **out,
    "memory": dataclasses.asdict(plan.memory),
    "executed_flops": cost.flops,
    "bytes_accessed": cost.hbm_bytes,
    "compute_seconds": cost.compute_seconds,
    "memory_seconds": cost.memory_seconds,
    "communication_seconds": cost.communication_seconds,
    "exposed_communication_seconds": cost.exposed_seconds,
    "estimated_step_seconds": cost.step_seconds,
    "scheduled_step_seconds": (
      cost.scheduled_step_seconds if plan.has_cycles else None
    ),
    "mixed_step_seconds": cost.mixed_step_seconds if plan.has_cycles else None,
    "calibration": dataclasses.asdict(plan.calibration),
    "calibrated_step_seconds": plan.step_seconds.median,
    "calibrated_step_seconds_low": plan.step_seconds.low,
    "calibrated_step_seconds_high": plan.step_seconds.high,
    "calibrated_mfu": plan.mfu,
    "images_per_second": plan.images_per_second,
    "images_per_second_per_device": plan.images_per_second / plan.num_devices,
    "days_for_one_billion_images": plan.days(BILLION),
    "days_for_all_steps": plan.days_for_all_steps,
    "seconds_by_part": cost.parts,
    "collectives": [
      dict(zip(_COLLECTIVE_FIELDS, (*which, *numbers)))
      for which, numbers in cost.collectives.items()
    ],
    "unknown_loops": cost.unknown_loops,
  }
