"""Whether a configuration fits on GPUs, as text and as JSON."""

import dataclasses

from ml_collections import ConfigDict

from sapiens2_jax.gpus import Gpu
from sapiens2_jax.models import partition
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.planning import gpu_memory, text

# Ours: how far the account may be off (docs/gpus.md compares it), and what CUDA
# and its libraries take of a card before a program starts.
UNCERTAINTY = 0.15
RESERVED_BYTES = 2**30

METHOD = f"""\
how this was counted
  The step that train.py runs, traced for one device: what it holds at once by
    its shapes, elementwise work fused, attention in cuDNN's kernel where that
    takes it. Needed: {UNCERTAINTY:.0%} more, and 1 GiB for CUDA and libraries.
  JAX takes 75 % of a card: set XLA_PYTHON_CLIENT_MEM_FRACTION=0.95.
  Not measured on a GPU."""


@dataclasses.dataclass(frozen=True)
class GpuPlan:
  """What is known about a configuration on GPUs of one kind."""

  config: ConfigDict
  gpu: Gpu
  num_devices: int
  memory: gpu_memory.Memory
  useful_flops: float  # of a step on one device, in closed form

  @property
  def needed_bytes(self) -> float:
    """With what the account may be off, and what CUDA takes."""
    return self.memory.total * (1 + UNCERTAINTY) + RESERVED_BYTES

  @property
  def fits(self) -> bool:
    return self.needed_bytes <= self.gpu.memory_bytes

  @property
  def seconds_at_peak(self) -> float:
    """Of a step whose useful products run at the card's peak: never less."""
    return self.useful_flops / self.gpu.peak_flops


def make_plan(config: ConfigDict, gpu: Gpu, num_devices: int) -> GpuPlan:
  """The account of a config.

  Raises:
    ValueError: the mesh does not fit the devices or the model, or it cuts more
      than the batch and the parameters.
  """
  useful = build_objective(config).flops() * config.data.global_batch_size
  asked = lambda: gpu.capability  # noqa: E731
  with gpu_memory.replaced(partition, "compute_capability", asked):
    memory = gpu_memory.measure(config, "gpu", num_devices)
  return GpuPlan(config, gpu, num_devices, memory, useful / num_devices)


def to_json(plan: GpuPlan) -> dict:
  """All numbers of a plan, for programs; bytes, FLOPs and seconds."""
  config = plan.config
  return {
    "size": config.model.size,
    "device": plan.gpu.name,
    "num_devices": plan.num_devices,
    "mesh": config.mesh.to_dict(),
    "global_batch_size": config.data.global_batch_size,
    "accumulation_steps": config.data.accumulation_steps,
    "remat": config.model.remat,
    "fits": plan.fits,
    "memory": dataclasses.asdict(plan.memory),
    "memory_bytes": plan.memory.total,
    "memory_needed": plan.needed_bytes,
    "memory_limit": plan.gpu.memory_bytes,
    "useful_flops": plan.useful_flops,
    "seconds_at_peak": plan.seconds_at_peak,
  }


def body(plan: GpuPlan) -> list[str]:
  """All of a plan but the method, a dozen lines."""
  gpu = plan.gpu
  return [
    text.header(plan.config, f"{plan.num_devices} x {gpu.name}:"),
    f"memory a card      {text.gib(plan.memory.total)}, needed "
    f"{text.gib(plan.needed_bytes)} of {text.gib(gpu.memory_bytes)}: "
    + ("fits" if plan.fits else "DOES NOT FIT"),
    *text.memory_parts(plan.memory),
    f"useful FLOPs       {plan.useful_flops / 1e12:.1f} T a card and step",
    f"step               at least {plan.seconds_at_peak:.2f} s, all products "
    "at the card's peak; no estimate",
  ]
