r"""Continued pretraining on images of one's own, any size.

Run:    sapiens2 train --workdir runs/mine \
          --config continue_pretraining:size=0.4b \
          --config.data.path=/data/mine \
          --config.model.init_from=runs/p04
Smoke:  --config continue_pretraining:size=toy (CPU, minutes),
        after sapiens2 quickstart
Sizes:  those of experiments/pretrain.py
Input:  model.init_from: the workdir of a pretraining, whose decoder, head,
        teacher and optimizer go on, too; or weights of an encoder (released,
        imported, exported), behind which all else starts at random
Needs:  for all sizes but the toys a TPU or GPU mesh [estimate; not yet run]

As experiments/pretrain.py but for what is below, all of it ours: a fifth of the
learning rate, so that what was learned is kept; a short warm-up, as the moments
of the optimizer are there already; and the teacher's last temperature from the
start. With an encoder alone set optim.warmup_steps=2000, so that decoder and
head learn something before they change it.
"""

import pathlib

import ml_collections

from sapiens2_jax.config import load_module

_HERE = pathlib.Path(__file__).parent
_RATE = 0.2  # of the peak learning rate of pretraining


def get_config(argument: str = "size=0.4b") -> ml_collections.ConfigDict:
  config = load_module(_HERE / "pretrain.py").get_config(argument)
  config.model.init_from = "runs/pretrain"
  config.optim.peak_lr *= _RATE
  config.optim.update(num_steps=20_000, warmup_steps=100)
  config.objective.teacher_temp_start = config.objective.teacher_temp
  if config.model.size.startswith("toy"):
    config.model.init_from = "runs/quickstart"
    config.optim.update(num_steps=60, warmup_steps=5)
  return config
