"""A true training step of the 4K variant on this machine, and its memory.

  python benchmarks/high_resolution_step.py [--size 0.1b_4k] [--config.F=...]

Takes --steps steps of what train.py runs, with the sizes of images and crops
of experiments/pretrain.py, on one image of noise. KoLeo needs a neighbour, so
its weight is 0.
"""

import argparse
import json
import math
import resource
import time

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--size", default="0.1b_4k")
  parser.add_argument("--steps", type=int, default=1)
  given, overrides = parser.parse_known_args()

  import jax
  import numpy as np

  from sapiens2_jax.objectives import build_objective
  from sapiens2_jax.parallel import mesh as mesh_lib
  from sapiens2_jax.planning import compiling
  from sapiens2_jax.training import optimizer, state, step

  config = config_lib.load_config(
    f"experiments/pretrain.py:size={given.size}",
    [
      "data.global_batch_size=1",
      "objective.w_koleo=0",
      *(override.removeprefix("--config.") for override in overrides),
    ],
    lambda config: validation.validate(config, 1),
  )
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state.abstract_state(config, objective, tx, mesh)
  shapes = compiling.abstract_batches(objective, mesh)
  started = time.monotonic()
  jitted = step.jit_train_step(objective, tx, config, mesh, abstract)
  step_fn = jitted.lower(abstract, shapes).compile()
  compiled = time.monotonic()
  print(f"compiled in {compiled - started:.0f} s", flush=True)
  current = state.init_state(config.seed, objective, tx, abstract)
  rng = np.random.default_rng(0)
  batch = {
    name: rng.integers(0, 256 if "crops" in name else 1, x.shape, x.dtype)
    for name, x in shapes.items()
  }
  seconds, losses = [], []
  for number in range(given.steps):
    begun = time.monotonic()
    current, metrics = step_fn(current, batch)
    losses.append(float(metrics["loss"]))
    seconds.append(time.monotonic() - begun)
    print(
      f"step {number}  loss {losses[-1]:.4f}  {seconds[-1]:.1f} s", flush=True
    )
  if not all(map(math.isfinite, losses)):
    raise SystemExit(f"losses {losses}: expected finite ones")
  kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  result = {
    "benchmark": "high_resolution_step",
    "size": given.size,
    "image_size": list(config.data.image_size),
    "dtype": config.model.dtype,
    "parameters": objective.encoder.architecture.num_params,
    "losses": [round(loss, 4) for loss in losses],
    "seconds": [round(second, 1) for second in seconds],
    "compile_seconds": round(compiled - started, 1),
    "tflop_a_step": round(objective.flops() / 1e12, 2),
    "peak_rss_gib": round(kilobytes / 2**20, 2),
  }
  print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
  main()
