r"""Joint pretraining (masked reconstruction + self-distillation), any size.

Run:    sapiens2 train --workdir runs/p04 \
          --config pretrain:size=0.4b \
          --config.data.path=/data/corpus
Smoke:  --config pretrain:size=toy (CPU, minutes)
Sizes:  toy toy_large (at 128 x 96) 0.1b 0.4b 0.8b 1b 5b (at 1024 x 768), and
        each with _4k behind its name, for four times the side (1b_4k: paper)
Input:  images alone; continue.py and high_resolution.py, both here,
        go on from weights
Needs:  for all sizes but the toys a TPU or GPU mesh [estimate; not yet run]

The defaults are the paper's: each field of a config, what it means and where
its default comes from is in sapiens2_jax/validation/schema.py.
"""

import ml_collections

from sapiens2_jax import validation
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.config import parse_argument


def get_config(argument: str = "size=0.4b") -> ml_collections.ConfigDict:
  config = validation.default_config("pretrain")
  config.model.size = parse_argument(argument, size="0.4b")["size"]
  if config.model.size.startswith("toy"):
    _make_toy(config)
  if get_architecture(config.model.size).has_windows:
    _enlarge(config)
  return config


def _enlarge(config: ml_collections.ConfigDict) -> None:
  """Four times the side, so that there are as many tokens as at 1K."""
  for name in ("image_size", "local_size"):
    # Local crops of 2048 x 1536: ours.
    config.data[name] = tuple(4 * side for side in config.data[name])


def _make_toy(config: ml_collections.ConfigDict) -> None:
  """Shrinks everything for minutes on two CPU cores; all values: ours."""
  config.model.update(
    dtype="float32",
    layer_scale_init=0.1,
    scan=False,
    remat="none",
    decoder_dim=128,
    decoder_layers=4,
    prototypes=512,
    head_hidden_dim=256,
    bottleneck_dim=64,
  )
  config.data.update(
    num_workers=0,
    global_batch_size=16,
    image_size=(128, 96),
    local_size=(64, 48),
  )
  # A sharper teacher: at the paper's temperature its targets stay uniform for
  # thousands of steps. Groups of 8: one epoch of the eight sample photographs,
  # so that KoLeo does not part two views of one photograph.
  config.objective.update(
    teacher_temp_start=0.02,
    teacher_temp=0.02,
    koleo_group_size=8,
    koleo_reduction="mean",  # with which all numbers of toys were measured
  )
  config.optim.update(num_steps=220, warmup_steps=20, peak_lr=2e-3)
  config.checkpoint.update(every=50, keep_last=2, keep_every=1000)
  config.logging.every = 5
