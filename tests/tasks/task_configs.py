"""Configs of tasks, as `experiments/finetune.py` has them."""

import pathlib

from ml_collections import ConfigDict

from sapiens2_jax.config import load_module

SIZES = ("toy", "0.1b", "0.4b", "0.8b", "1b", "5b")
_ROOT = pathlib.Path(__file__).parents[2]
_FINETUNE = load_module(_ROOT / "experiments" / "finetune.py")


def load_task_config(task: str, size: str, image_size=None) -> ConfigDict:
  """What `finetune.py:task=TASK,size=SIZE` gives, unchecked."""
  config = _FINETUNE.get_config(f"task={task},size={size}")
  if image_size is None:
    image_size = (128, 96) if size == "toy" else (1024, 768)
  config.data.image_size = image_size
  return config
