"""Learning rate as a function of the step."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from sapiens2_jax import errors


def learning_rate(optim: ConfigDict, step: Array) -> Float[Array, ""]:
  """The rate of the schedule that the config group `optim` names.

  Raises:
    ValueError: no such schedule.
  """
  schedule = errors.lookup(SCHEDULES, optim.schedule, "optim.schedule")
  names = ("peak_lr", "final_lr", "warmup_steps", "num_steps")
  return schedule(step, **{name: optim[name] for name in names})


def warmup_cosine(
  step: Array,
  *,
  peak_lr: float,
  final_lr: float,
  warmup_steps: int,
  num_steps: int,
) -> Float[Array, ""]:
  """Linear from 0 to `peak_lr`, then half a cosine to `final_lr`.

  The first update (step 0) has the rate peak_lr / warmup_steps, so that it is
  not lost; the last one (num_steps - 1) has `final_lr`.

  Source: arXiv 2604.21681 (1e-4, 1000 warmup steps, 1e-7).
  """
  step = jnp.asarray(step, jnp.float32)
  warmup = peak_lr * (step + 1) / max(1, warmup_steps)
  length = max(1, num_steps - 1 - warmup_steps)
  progress = jnp.clip((step - warmup_steps) / length, 0.0, 1.0)
  cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
  decayed = final_lr + (peak_lr - final_lr) * cosine
  return jnp.where(step < warmup_steps, warmup, decayed)


def warmup_linear(
  step: Array,
  *,
  peak_lr: float,
  final_lr: float,
  warmup_steps: int,
  num_steps: int,
) -> Float[Array, ""]:
  """Linear from a thousandth of `peak_lr` to all of it, then to `final_lr`.

  `final_lr` would be the rate of the step after the last one.

  Source: reference (500 warmup steps, to 0).
  """
  step = jnp.asarray(step, jnp.float32)
  warmup = peak_lr * (0.001 + 0.999 * step / max(1, warmup_steps))
  length = max(1, num_steps - warmup_steps)
  progress = jnp.clip((step - warmup_steps) / length, 0.0, 1.0)
  decayed = peak_lr + (final_lr - peak_lr) * progress
  return jnp.where(step < warmup_steps, warmup, decayed)


SCHEDULES = {"cosine": warmup_cosine, "linear": warmup_linear}
