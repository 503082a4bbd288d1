r"""The 4K stage of pretraining, from the encoder of the same size at 1K.

Run:    sapiens2 train --workdir runs/p1_4k \
          --config high_resolution:size=1b_4k \
          --config.data.path=/data/corpus \
          --config.model.init_from=runs/p1
Smoke:  --config high_resolution:size=toy_4k (CPU, minutes),
        after sapiens2 quickstart
Sizes:  toy_4k 0.1b_4k 0.4b_4k 0.8b_4k 1b_4k 5b_4k, at 4096 x 3072
Input:  model.init_from: a pretraining workdir, or weights of an encoder, of the
        size without _4k; all of the encoder is taken and the window stage is
        new, as are the decoder's output, which is 2K, and the optimizer
Needs:  for all sizes but the toy a TPU or GPU mesh [estimate; not yet run]

As experiments/pretrain.py at 4K but for what is below, all of it ours: a tenth
of the steps, a warm-up twice as long for what is new, and the teacher's last
temperature from the start.
"""

import pathlib

import ml_collections

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.config import load_module

_HERE = pathlib.Path(__file__).parent


def get_config(argument: str = "size=1b_4k") -> ml_collections.ConfigDict:
  config = load_module(_HERE / "pretrain.py").get_config(argument)
  size = config.model.size
  if not get_architecture(size).has_windows:
    raise ValueError(f"size={size} has no window stage; use size={size}_4k")
  config.model.init_from = "runs/pretrain"
  config.optim.update(num_steps=50_000, warmup_steps=2000)
  config.objective.teacher_temp_start = config.objective.teacher_temp
  if size == "toy_4k":
    config.model.init_from = "runs/quickstart"
    config.optim.update(num_steps=60, warmup_steps=10)
  return config
