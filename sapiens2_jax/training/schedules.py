"""Learning rate as a function of the step."""

import jax.numpy as jnp
from jaxtyping import Array, Float


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
