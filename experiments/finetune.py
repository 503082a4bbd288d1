r"""Fine-tuning of a whole encoder on one human task, any size.

Run:    sapiens2 train --workdir runs/normal \
          --config finetune:task=normal,size=0.4b \
          --config.data.path=/data/labelled \
          --config.model.init_from=sapiens2_0.4b.safetensors
Smoke:  --config finetune:task=normal,size=toy (CPU, minutes)
Tasks:  albedo matting normal pointmap pose segmentation (or seg)
Sizes:  toy 0.1b 0.4b 0.8b 1b 5b, and toy_4k ... 5b_4k at 4096 x 3072
Input:  model.init_from: a pretraining workdir or weights of an encoder; or, to
        go on with one task, its workdir or released weights, head included
Needs:  for all sizes but the toys a TPU or GPU mesh [estimate; not yet run]

The defaults are those of sapiens2_jax/validation/schema.py and of the task's
own module. What else depends on task and size is in the table below, marked
`ours` where it is a choice of this project. All else is what the public
Sapiens2 release trains with (`reference`).
"""

from typing import Any

import ml_collections

from sapiens2_jax import errors, validation
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.config import parse_argument
from sapiens2_jax.models.heads import fit_widths
from sapiens2_jax.tasks import registry

_ALIASES = {"seg": "segmentation"}
# Learning rate of a layer over that of the next one.
_LAYER_DECAY = {
  **{"toy": 1.0, "0.1b": 0.8, "0.4b": 0.8},  # the first two: ours
  **{"0.8b": 0.85, "1b": 0.9, "5b": 0.94},
}
_TOY_HEAD = {  # ours: cheap on two cores, at 128 x 96
  "upsample_channels": (64, 48, 32, 16),
  "conv_channels": (16, 16),
}
_LARGE_HEAD = {"upsample_channels": (1536, 768, 512, 256)}
# Ours: patches of a smaller image turn too much, and hold too many parts.
_TOY_DATA = {"image_size": (256, 192)}


def _row(
  peak_lr: float, num_steps: int, clip_norm: float, **groups: dict
) -> dict[str, dict[str, Any]]:
  """What a task changes at one size: groups of the config."""
  optim = {"peak_lr": peak_lr, "num_steps": num_steps, "clip_norm": clip_norm}
  return {"optim": optim, **groups}


_TASKS = {
  "albedo": {
    "toy": _row(5e-3, 1450, 2.0, head=_TOY_HEAD),  # ours: as for normals
    "0.1b": _row(5e-4, 20_000, 2.0),  # ours: as 0.4b
    "0.4b": _row(5e-4, 20_000, 2.0),
    "0.8b": _row(5e-4, 20_000, 4.0),
    "1b": _row(5e-4, 40_000, 4.0),
    "5b": _row(5e-4, 40_000, 4.0, head=_LARGE_HEAD),
  },
  "matting": {  # ours but for 1b, whose values all sizes have
    "toy": _row(5e-3, 1450, 2.0, head=_TOY_HEAD),  # as for normals
    **dict.fromkeys(("0.1b", "0.4b", "0.8b", "1b"), _row(5e-4, 14_550, 4.0)),
    "5b": _row(5e-4, 14_550, 4.0, head=_LARGE_HEAD),  # the head: as albedo's
  },
  "normal": {
    "toy": _row(  # ours
      *(5e-3, 1450, 2.0),
      head={"upsample_channels": (32, 16, 8, 8), "conv_channels": ()},
      data=_TOY_DATA,
    ),
    "0.1b": _row(5e-4, 20_000, 2.0),  # ours: as 0.4b
    "0.4b": _row(5e-4, 20_000, 2.0),
    "0.8b": _row(5e-4, 10_000, 4.0),
    "1b": _row(5e-4, 40_000, 4.0),
    "5b": _row(
      *(1e-4, 40_000, 4.0),
      head=_LARGE_HEAD | {"conv_channels": (128, 64, 32)},
    ),
  },
  "pointmap": {
    "toy": _row(  # ours: as for normals
      *(5e-3, 1450, 2.0),
      head=_TOY_HEAD | {"scale_channels": (32, 16), "scale_hidden": (32, 16)},
    ),
    "0.1b": _row(5e-4, 20_000, 2.0),  # ours: as 0.4b
    "0.4b": _row(5e-4, 20_000, 2.0),
    "0.8b": _row(5e-4, 20_000, 2.0),
    "1b": _row(5e-4, 40_000, 4.0),
    "5b": _row(
      *(1e-4, 40_000, 4.0),
      head={
        "upsample_channels": (1536, 768, 768, 768),
        "conv_channels": (128, 64, 32),
      },
    ),
  },
  "pose": {
    "toy": _row(  # ours
      *(5e-3, 3000, 2.0),
      head={"upsample_channels": (64, 64), "conv_channels": (64,)},
    ),
    "0.1b": _row(5e-4, 10_000, 2.0),  # ours: as 0.4b
    "0.4b": _row(5e-4, 10_000, 2.0),
    "0.8b": _row(5e-4, 10_000, 4.0),
    "1b": _row(
      *(5e-4, 20_000, 4.0),
      head={
        "upsample_channels": (1536, 1024),
        "conv_channels": (768, 512, 256),
      },
    ),
    "5b": _row(1e-4, 20_000, 4.0),
  },
  "segmentation": {  # at 0.8b the reference computes in float32
    "toy": _row(  # ours
      *(5e-3, 1450, 2.0),
      head={"upsample_channels": (64, 32), "conv_channels": ()},
      data=_TOY_DATA,
    ),
    "0.1b": _row(5e-4, 20_000, 2.0),  # ours: as 0.4b
    "0.4b": _row(5e-4, 20_000, 2.0),
    "0.8b": _row(5e-4, 30_000, 4.0),
    "1b": _row(5e-4, 20_000, 4.0),
    "5b": _row(5e-4, 50_000, 4.0),
  },
}
_ALL_SIZES = {
  "matting": {"data": {"augment": True}},  # else it has no targets
  "pointmap": {"model": {"dtype": "float32"}},
}


def get_config(
  argument: str = "task=normal,size=0.4b",
) -> ml_collections.ConfigDict:
  given = parse_argument(argument, task="normal", size="0.4b")
  name = _ALIASES.get(given["task"], given["task"])
  sizes = errors.lookup(_TASKS, name, "task")
  # The 4K variant has the recipe of its size: ours.
  size = given["size"].removesuffix("_4k")
  groups = errors.lookup(sizes, size, "size")
  config = make_config(name, size)
  config.optim.layer_decay = _LAYER_DECAY[size]
  config.update(groups)
  config.update(_ALL_SIZES.get(name, {}))
  config.model.size = given["size"]
  arch = get_architecture(config.model.size)
  if arch.has_windows:
    config.data.image_size = tuple(4 * side for side in config.data.image_size)
    config.head.upsample_channels = fit_widths(
      config.head.upsample_channels, arch, registry.definition(name).stride
    )
  return config


def make_config(task: str, size: str) -> ml_collections.ConfigDict:
  """The defaults of a task; at toy with what all of them have there."""
  config = validation.default_config("finetune", task)
  config.model.size = size
  if size == "toy":
    _make_toy(config)
  return config


def _make_toy(config: ml_collections.ConfigDict) -> None:
  """Shrinks everything for minutes on two CPU cores; all values: ours.

  For an encoder that starts at random: it learns at once, in all layers.
  """
  config.model.update(
    dtype="float32", layer_scale_init=1.0, scan=False, remat="none"
  )
  # So short a run on a corpus like that of toy_tasks sees an image once or
  # twice, as it is.
  config.data.update(
    num_workers=0, global_batch_size=8, image_size=(128, 96), augment=False
  )
  # For normals it needed less than half of the images that AdamW did.
  config.optim.update(name="muon", warmup_steps=50, b2=0.95)
  config.checkpoint.update(every=500, keep_last=2, keep_every=1000)
  config.logging.every = 5
