r"""Dense probing: how good are frozen features, a light decoder a task.

Run:    python -m sapiens2_jax.evaluate --checkpoint runs/p04 \
          --config experiments/probe.py:task=all --output probes/p04 \
          --config.data.train=/data/labelled --config.data.test=/data/test
Smoke:  --config experiments/probe.py:task=normal,size=toy (CPU, minutes)
Tasks:  pose seg pointmap normal albedo retrieval; all: these six
Needs:  one device; on disk, 9 MB an image and view for 1b at 1024 x 768
        [estimate: 3072 x 1536 float16]

The paper (section 4, table 2) probes frozen backbones with one light decoder a
task and the same hyperparameters for all backbones; it gives neither. All
values here are ours. They depend on `size`, the size of the images and of the
work, and never on the backbone.
"""

import ml_collections

from sapiens2_jax import errors
from sapiens2_jax.config import parse_argument

_TASKS = ("pose", "segmentation", "pointmap", "normal", "albedo", "retrieval")
_CHOICES = {name: (name,) for name in _TASKS} | {
  "seg": ("segmentation",),
  "all": _TASKS,
}
# image_size (height, width), num_steps, warmup_steps, batch_size
_SIZES = {
  "full": ((1024, 768), 10_000, 500, 16),
  "toy": ((128, 96), 300, 20, 16),
}


def get_config(
  argument: str = "task=all,size=full",
) -> ml_collections.ConfigDict:
  given = parse_argument(argument, task="all", size="full")
  image_size, num_steps, warmup_steps, batch_size = errors.lookup(
    _SIZES, given["size"], "size"
  )
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.tasks = errors.lookup(_CHOICES, given["task"], "task")
  config.data = ml_collections.ConfigDict(
    {
      "train": "",  # labelled images, any place that data.path may be
      "test": "",  # other ones
      "image_size": image_size,
      "max_pixels": 170_000_000,  # an image above is left out
      "num_workers": 0,  # processes that read labels; 0: threads
    }
  )
  config.features = ml_collections.ConfigDict(
    {
      "directory": "",  # where they are kept; "": in the output
      "compute_dtype": "float32",  # of the backbone; or bfloat16
      "dtype": "float16",  # on disk; or float32
    }
  )
  config.decoder = ml_collections.ConfigDict({"hidden_dim": 256})
  config.optim = ml_collections.ConfigDict(
    {
      "num_steps": num_steps,
      "batch_size": batch_size,
      "warmup_steps": warmup_steps,
      "peak_lr": 1e-3,
      "weight_decay": 0.05,
      "clip_norm": 1.0,
    }
  )
  return config
