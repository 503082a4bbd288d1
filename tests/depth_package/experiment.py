"""Fine-tuning on depth: --config .../experiment.py:size=toy"""

from sapiens2_jax import validation
from sapiens2_jax.config import parse_argument


def get_config(argument: str = "size=0.4b"):
  size = parse_argument(argument, size="0.4b")["size"]
  config = validation.default_config("finetune", "depth")
  config.model.size = size
  if size == "toy":
    config.model.update(
      dtype="float32", scan=False, remat="none", layer_scale_init=1.0
    )
    config.data.update(
      global_batch_size=4, image_size=(64, 48), max_skipped_fraction=0.5
    )
    config.head.update(upsample_channels=(16, 12, 8, 8), conv_channels=(8,))
    config.optim.update(num_steps=6, warmup_steps=1, peak_lr=2e-3)
    config.logging.every = 1
  return config
