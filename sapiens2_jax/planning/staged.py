"""The plans of a run whose images have one size after another, together."""

from collections.abc import Callable, Sequence
from typing import Any

from sapiens2_jax.training import stages as stages_lib
from sapiens2_jax.training.objective import Stage

_DAY = 86_400


def bounds(
  stages: Sequence[Stage], num_devices: int, peak_flops: float
) -> dict[str, float]:
  """What a device does in all steps, and at most in a day.

  Args:
    stages: of the run.
    num_devices: that share each step.
    peak_flops: of a device, at which all useful products run.
  """
  num_steps = stages[-1].end
  total = stages_lib.total_flops(stages) / num_devices
  steps_a_day = peak_flops * _DAY / total * num_steps
  batch = stages[-1].objective.config.data.global_batch_size
  return {
    "num_steps": num_steps,
    "total_useful_flops": total,
    "days_at_peak": total / peak_flops / _DAY,
    "steps_a_day_at_peak": steps_a_day,
    "images_a_day_at_peak": steps_a_day * batch,
  }


def format_bounds(found: dict[str, float]) -> list[str]:
  """The lines of `bounds`."""
  steps, images = (found[f"{x}_a_day_at_peak"] for x in ("steps", "images"))
  return [
    f"{found['num_steps']:,} steps".ljust(19)
    + f"{found['total_useful_flops'] / 1e18:.4g} useful EFLOP a card, at least "
    f"{found['days_at_peak']:.3g} days",
    f"a day              at most {steps:,.0f} steps, {images:,.0f} images, at "
    "the card's peak",
  ]


def format_plans(
  stages: Sequence[Stage], bodies: Sequence[list[str]], end: Sequence[str]
) -> str:
  """A text of all plans, each below the steps that it is of.

  Args:
    stages: of the run.
    bodies: the lines on each.
    end: lines on all of them.
  """
  lines = []
  for stage, body in zip(stages, bodies, strict=True):
    lines += [stages_lib.describe(stage), *body] if stages[1:] else body
  return "\n".join([*lines, *end])


def to_json(
  stages: Sequence[Stage],
  plans: Sequence[Any],
  one: Callable[[Any], dict],
  totals: dict[str, Any],
) -> dict:
  """The numbers of a plan, or of all as `stages`; and `totals`."""
  found = [one(plan) for plan in plans]
  if len(found) == 1:
    return found[0] | totals
  steps = [{"first_step": s.first, "end_step": s.end} for s in stages]
  return {
    "fits": all(plan["fits"] for plan in found),
    "stages": [a | b for a, b in zip(steps, found, strict=True)],
    **totals,
  }
