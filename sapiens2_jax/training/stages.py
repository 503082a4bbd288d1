"""Which stage of a run a step belongs to, and what the stages cost."""

from collections.abc import Iterable, Sequence

from sapiens2_jax.training.objective import Objective, Stage


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
  """The stage of a step; beyond the end it is the last one."""
  return next((one for one in stages if step < one.end), stages[-1])


def step_flops(objective: Objective) -> int:
  """Useful FLOPs of one step at the sizes of an objective's config."""
  return objective.flops() * objective.config.data.global_batch_size


def total_flops(stages: Sequence[Stage]) -> int:
  """Useful FLOPs of all steps of a run."""
  return remaining_flops(stages, [step_flops(s.objective) for s in stages], 0)


def remaining_flops(
  stages: Sequence[Stage], costs: Iterable[int], step: int
) -> int:
  """Useful FLOPs of the steps from `step` on; `costs` are `step_flops`."""
  return sum(
    max(0, one.end - max(one.first, step)) * cost
    for one, cost in zip(stages, costs)
  )


def describe(stage: Stage) -> str:
  """Its steps and size, e.g. "steps 1 to 75 at 64 x 48 pixels"."""
  height, width = stage.objective.config.data.image_size
  first = f"steps {stage.first + 1:,} to {stage.end:,}"
  return f"{first} at {height} x {width} pixels"


def describe_costs(stages: Sequence[Stage]) -> list[str]:
  """What a step costs, for each stage if there are several, and the run."""
  costs = [f"{step_flops(s.objective) / 1e12:.3g} TFLOP a step" for s in stages]
  if len(stages) == 1:
    return [f"{costs[0]} (useful, closed form)"]
  lines = [f"{describe(s)}: {cost}" for s, cost in zip(stages, costs)]
  total = f"{total_flops(stages) / 1e12:.4g} TFLOP"
  return [*lines, f"{total} for the whole run (useful, closed form)"]
