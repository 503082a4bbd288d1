"""From a compiled step to seconds, and what they are made of."""

import collections
import dataclasses

from jax.sharding import Mesh

from sapiens2_jax.chips import Chip
from sapiens2_jax.planning import account, collectives, hlo, kernels

# Named scopes of the step; the first that an instruction lies in counts it.
PARTS = (
  "windows",
  "teacher",
  "decoder",
  "student",
  "head",
  "augment",
  "update",
)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """One step on one device."""

  flops: float  # of matrix products and attention kernels, executed
  hbm_bytes: float  # read and written
  compute_seconds: float  # all products at the chip's peak, kernels at theirs
  memory_seconds: float  # all bytes at the bandwidth of HBM
  # Sum over instructions of the slower of the two, or all bytes alone.
  device_seconds: float
  # The compiler's own cycles for all instructions that have an estimate,
  # kernels as above for the rest.
  scheduled_seconds: float
  # Products by the compiler's cycles, all else by the bandwidth of HBM.
  mixed_seconds: float
  communication_seconds: float  # all collectives, one after another
  exposed_seconds: float  # the part of it that nothing hides
  parts: dict[str, float]  # of the step, in `device_seconds`
  # (kind, axes) -> [runs, bytes, seconds, of them async]
  collectives: dict[tuple[str, str], list[float]]
  activation_bytes: int  # that forward loops keep for the backward pass
  unknown_loops: int  # whose length only the data tells, counted once

  @property
  def step_seconds(self) -> float:
    """Work of the device, and communication that it cannot hide."""
    return self.device_seconds + self.exposed_seconds

  @property
  def scheduled_step_seconds(self) -> float:
    """The same by the compiler's own cycles."""
    return self.scheduled_seconds + self.exposed_seconds

  @property
  def mixed_step_seconds(self) -> float:
    return self.mixed_seconds + self.exposed_seconds


def estimate(program: hlo.Program, mesh: Mesh, chip: Chip) -> Estimate:
  """Estimates a step from its compiled program.

  Collectives that are started in one place and awaited in another run beside
  the device's work, as far as there is any; others stop it. So do transfers
  between HBM and the chip's memory, until their bytes and those of the other
  instructions take all of the bandwidth.
  """
  works = account.walk(program)
  total = collections.Counter()
  parts = collections.Counter()
  joined: dict[tuple[str, str], list[float]] = {}
  for work in works:
    times, flops = work.times, work.flops
    compute = flops / chip.peak_flops
    if work.kernel:
      cost = kernels.kernel_cost(work.instruction)
      flops += cost.flops
      compute += cost.seconds(chip)
    if work.collective:
      found = collectives.describe(work, mesh, chip)
      row = joined.setdefault((found.kind, found.axes), [0, 0.0, 0.0, 0.0])
      seconds = times * found.seconds
      row[0] += times
      row[1] += times * found.num_bytes
      row[2] += seconds
      row[3] += seconds if found.is_async else 0.0
      continue
    total["bytes"] += times * work.hbm_bytes
    if work.is_transfer:
      continue
    memory = work.hbm_bytes / chip.hbm_bandwidth
    seconds = max(compute, memory)
    cycles = work.instruction.estimated_cycles / chip.frequency
    total["flops"] += times * flops
    total["compute"] += times * compute
    total["device"] += times * seconds
    total["scheduled"] += times * (cycles or seconds)
    total["mixed"] += times * max(seconds, cycles if work.flops else 0.0)
    parts[_part(work.instruction)] += times * seconds
  memory = total["bytes"] / chip.hbm_bandwidth
  device = max(total["device"], memory)
  communication = sum(row[2] for row in joined.values())
  hidden = min(sum(row[3] for row in joined.values()), device)
  return Estimate(
    flops=total["flops"],
    hbm_bytes=total["bytes"],
    compute_seconds=total["compute"],
    memory_seconds=memory,
    device_seconds=device,
    scheduled_seconds=max(total["scheduled"], memory),
    mixed_seconds=max(total["mixed"], memory),
    communication_seconds=communication,
    exposed_seconds=communication - hidden,
    parts=dict(parts.most_common()),
    collectives=joined,
    activation_bytes=account.kept_for_backward(program),
    unknown_loops=account.count_unknown_loops(program),
  )


def _part(instruction: hlo.Instruction) -> str:
  name = instruction.attribute(r'op_name="([^"]*)"') or ""
  for part in PARTS:
    if f"/{part}/" in name or f"({part})" in name:
      return part
  return "other"
