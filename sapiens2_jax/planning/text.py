"""A plan as text that a person reads."""

import dataclasses

from ml_collections import ConfigDict

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.planning import kernels
from sapiens2_jax.planning.calibration import ANY
from sapiens2_jax.planning.plan import BILLION, FIT_FRACTION, Plan

_GIB = 2**30

METHOD = """\
how this was estimated
  HBM: the TPU compiler's own account of the program that train.py runs.
  useful FLOPs: closed form, see training/flops.py; recomputation is not useful.
  executed FLOPs, bytes: counted in the compiled program, loops as often as
    they run, bytes in the tiles in which arrays lie in HBM.
  step: for each instruction the slower of its products at the chip's peak
    and its bytes at the bandwidth of HBM; attention kernels, which that
    account does not look into, on heads padded to the matrix unit at
    {efficiency} of the peak (forward with up to 896 keys and
    with more, backward the same, heads below 128; above 100% products run
    beside each other; from the compiler's schedule of the kernel,
    not measured); then communication that is not started ahead.
  by the compiler's cycles: instead of the above its own cycles for each
    instruction, which know about tiles and vector units, but take work that
    only moves bytes for 2.4 to 2.8 times as long as HBM needs; or only for
    products.
  communication: bytes over the links that a group of chips spans, both ways.
  calibrated: the estimated step times what {runs} published run(s) of language
    models on {chips} took of theirs (docs/plans.md). This program
    itself was not run on a TPU."""


def body(plan: Plan) -> list[str]:
  """All of a plan but the method."""
  slices = f"{plan.num_slices} x " if plan.num_slices > 1 else ""
  devices = f"{slices}{plan.topology}: {_devices(plan)},"
  lines = [header(plan.config, devices), *_memory(plan)]
  if plan.cost is not None:
    lines += [*_work(plan), *_communication(plan), *_time(plan)]
  return lines


def method(plan: Plan) -> str:
  """How a plan for this chip was made."""
  name = plan.chip.name
  reached = kernels.NARROW[name]
  efficiency = ", ".join(f"{fraction:.0%}" for fraction in reached)
  found = plan.calibration
  chips = found.chip if found.chip != ANY else f"other chips than {name}"
  return METHOD.format(efficiency=efficiency, chips=chips, runs=found.runs)


def gib(size: float) -> str:
  return f"{size / _GIB:.2f} GiB"


def header(config: ConfigDict, devices: str) -> str:
  """What is planned, on which devices; their mark ends them, "," or ":"."""
  mesh = " x ".join(f"{axis}={size}" for axis, size in config.mesh.items())
  return (
    f"{config.model.size} on {devices} mesh {mesh}, batch "
    f"{config.data.global_batch_size} in {config.data.accumulation_steps} "
    f"microbatch(es), remat {config.model.remat}"
  )


def memory_parts(memory) -> list[str]:
  """A line for each field of an account, all of them bytes."""
  parts = dataclasses.asdict(memory).items()
  return [f"  {name:<17}{gib(size)}" for name, size in parts]


def _devices(plan: Plan) -> str:
  chips = plan.num_devices // plan.chip.devices
  if plan.chip.devices == 1:
    return f"{chips} chips"
  return f"{plan.num_devices} devices ({chips} chips)"


def _memory(plan: Plan) -> list[str]:
  limit = plan.chip.hbm_bytes
  if plan.fits:
    verdict = "fits"
  elif plan.memory is None:
    verdict = "DOES NOT FIT"
  else:
    verdict = f"TOO TIGHT: above {FIT_FRACTION:.0%}"
  lines = [
    f"HBM a device       {gib(plan.hbm_bytes)} of {gib(limit)}, "
    f"{plan.hbm_fraction:.1%}: {verdict}"
  ]
  if plan.memory is not None:
    lines += memory_parts(plan.memory)
  return lines


def _work(plan: Plan) -> list[str]:
  cost = plan.cost
  ratio = cost.flops / plan.useful_flops
  return [
    f"useful FLOPs       {plan.useful_flops / 1e12:.1f} T a device and step",
    f"executed FLOPs     {cost.flops / 1e12:.1f} T ({ratio:.2f} x useful)",
    f"bytes of HBM       {cost.hbm_bytes / 1e12:.3f} T",
  ]


def _communication(plan: Plan) -> list[str]:
  lines = ["collectives        a device and step"]
  rows = sorted(plan.cost.collectives.items(), key=lambda row: -row[1][2])
  for (kind, axes), (runs, size, seconds, hidden) in rows:
    beside = f", {hidden / seconds:.0%} started ahead" if seconds else ""
    lines.append(
      f"  {kind:<20} {axes:<16} {runs:>6} runs {size / 1e9:>9.2f} GB "
      f"{seconds:>8.3f} s{beside}"
    )
  return lines


def _time(plan: Plan) -> list[str]:
  cost = plan.cost
  step, ratio = plan.step_seconds, plan.calibration.roofline
  by_cycles = "the compiler's cycles are not known"
  if plan.has_cycles:
    by_cycles = (
      f"by the compiler's cycles {plan.mfu_in(cost.scheduled_step_seconds):.1%}"
      f", only products by them {plan.mfu_in(cost.mixed_step_seconds):.1%}"
    )
  parts = ", ".join(
    f"{name} {seconds / cost.device_seconds:.0%}"
    for name, seconds in cost.parts.items()
  )
  return [
    f"calibrated step    {step.median:.3f} s ({step.low:.3f} to "
    f"{step.high:.3f}): {ratio.median:.2f} x the estimate ({ratio.low:.2f} "
    f"to {ratio.high:.2f})",
    f"calibrated MFU     {plan.mfu:.1%} ({plan.mfu_in(step.high):.1%} to "
    f"{plan.mfu_in(step.low):.1%})",
    f"estimated step     {cost.step_seconds:.3f} s; alone compute "
    f"{cost.compute_seconds:.3f}, memory {cost.memory_seconds:.3f}, "
    f"communication {cost.communication_seconds:.3f} "
    f"({cost.exposed_seconds:.3f} not hidden)",
    f"  by part          {parts}",
    f"estimated MFU      {plan.mfu_in(cost.step_seconds):.1%} ({by_cycles})",
    f"images/s           {plan.images_per_second:.0f} "
    f"({plan.images_per_second / plan.num_devices:.2f} a device)",
    f"1 billion images   {format_seconds(plan.days(BILLION) * 86400)}",
    f"{plan.num_steps:,} steps".ljust(19)
    + format_seconds(plan.days_for_all_steps * 86400),
  ]
