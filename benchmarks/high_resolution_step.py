"""A true training step of the 4K variant on this machine, and its memory.

  python benchmarks/high_resolution_step.py [--size 0.1b_4k] [--config.F=...]

Takes --steps steps of what train.py runs, with the sizes of images and crops
of experiments/pretrain.py, on one image of noise. KoLeo needs a neighbour, so
its weight is 0.
"""

import argparse
import json
import math

import numpy as np
import true_step

from sapiens2_jax.training import state


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--size", default="0.1b_4k")
  parser.add_argument("--steps", type=int, default=1)
  given, overrides = parser.parse_known_args()

  config = true_step.load_config(
    f"pretrain:size={given.size}",
    [
      "data.global_batch_size=1",
      "objective.w_koleo=0",
      *(override.removeprefix("--config.") for override in overrides),
    ],
  )
  true = true_step.Step(config)
  print(f"compiled in {true.compile_seconds:.0f} s", flush=True)
  objective = true.objective
  current = state.init_state(config.seed, objective, true.tx, true.abstract)
  rng = np.random.default_rng(0)
  batch = {
    name: rng.integers(0, 256 if "crops" in name else 1, x.shape, x.dtype)
    for name, x in true.batch.items()
  }
  seconds, losses = [], []
  for number in range(given.steps):
    current, metrics, taken, _ = true.take(current, batch)
    losses.append(metrics["loss"])
    seconds.append(taken)
    print(
      f"step {number}  loss {losses[-1]:.4f}  {seconds[-1]:.1f} s", flush=True
    )
  if not all(map(math.isfinite, losses)):
    raise SystemExit(f"losses {losses}: expected finite ones")
  result = {
    "benchmark": "high_resolution_step",
    "size": given.size,
    "image_size": list(config.data.image_size),
    "dtype": config.model.dtype,
    "parameters": objective.encoder.architecture.num_params,
    "losses": [round(loss, 4) for loss in losses],
    "seconds": [round(second, 1) for second in seconds],
    "compile_seconds": round(true.compile_seconds, 1),
    "tflop_a_step": round(objective.flops() / 1e12, 2),
    "peak_rss_gib": round(true_step.peak_gib(), 2),
  }
  print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
  main()
