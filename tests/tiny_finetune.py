"""Fine-tuning on the task of the tests; see experiments/finetune.py."""

import pathlib

from sapiens2_jax.config import load_module, parse_argument

_ROOT = pathlib.Path(__file__).parents[1]


def get_config(argument: str = "size=toy"):
  finetune = load_module(_ROOT / "experiments" / "finetune.py")
  size = parse_argument(argument, size="toy")["size"]
  config = finetune.make_config("alpha", size)
  config.optim.update(
    name="adamw",
    num_steps=12,
    warmup_steps=2,
    peak_lr=2e-3,
    clip_norm=2.0,
    layer_decay=0.8,
  )
  # Its task has no targets without augmentation.
  config.data.update(image_size=(64, 48), global_batch_size=8, augment=True)
  config.model.update(scan=True, layer_scale_init=0.5)
  config.logging.every = 1
  return config
