"""Checks of experiments/probe.py."""

from ml_collections import ConfigDict

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.models.from_config import DTYPES
from sapiens2_jax.validation.bounds import Bounds, Problems, check_image_size

_BOUNDS = Bounds(
  minimum={
    "data.max_pixels": 1,
    "data.num_workers": 0,
    "decoder.hidden_dim": 1,
    "optim.num_steps": 1,
    "optim.batch_size": 1,
    "optim.warmup_steps": 0,
    "optim.peak_lr": 0,
    "optim.weight_decay": 0,
  },
  positive=("optim.clip_norm",),
  names={
    "features.dtype": {"float16": None, "float32": None},
    "features.compute_dtype": DTYPES,
  },
)


def _check_places(config: ConfigDict) -> Problems:
  needed = ["test"] if config.tasks == ("retrieval",) else ["train", "test"]
  return [
    (f"data.{name}=", "must be a place of images")
    for name in needed
    if not config.data[name]
  ]


def validate(config: ConfigDict) -> Problems:
  """Finds what is wrong with a configuration."""
  patch_size = ARCHITECTURES["0.4b"].patch_size  # One for all sizes.
  return (
    _BOUNDS.check(config)
    + check_image_size(config, "image_size", patch_size)
    + _check_places(config)
  )
