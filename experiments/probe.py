r"""Dense probing: how good are frozen features, a light decoder a task.

Run:    sapiens2 probe --checkpoint runs/p04 \
          --config probe:task=all --output probes/p04 \
          --config.data.train=/data/labelled --config.data.test=/data/test
Smoke:  --config probe:task=normal,size=toy (CPU, minutes)
Tasks:  pose segmentation (or seg) pointmap normal albedo, those of other
        packages, and retrieval; all: all of them
Needs:  one device or more, in one process or more; on disk, 9 MB an image and
        view for 1b at 1024 x 768 [estimate: 3072 x 1536 float16]

The paper (section 4, table 2) probes frozen backbones with one light decoder a
task and the same hyperparameters for all backbones; it gives neither. All
values here and in sapiens2_jax/validation/probe.py are ours. They depend on
`size`, the size of the images and of the work, and never on the backbone.
"""

import ml_collections

from sapiens2_jax import errors, validation
from sapiens2_jax.config import parse_argument
from sapiens2_jax.evaluation.probing import RETRIEVAL
from sapiens2_jax.tasks import registry

_ALIASES = {"seg": "segmentation"}
_SIZES = ("full", "toy")


def get_config(
  argument: str = "task=all,size=full",
) -> ml_collections.ConfigDict:
  given = parse_argument(argument, task="all", size="full")
  config = validation.default_config("probe")
  known = (*registry.probed_task_names(), RETRIEVAL)
  choices = {name: (name,) for name in known} | {"all": known}
  name = _ALIASES.get(given["task"], given["task"])
  config.tasks = errors.lookup(choices, name, "task")
  errors.lookup(dict.fromkeys(_SIZES), given["size"], "size")
  if given["size"] == "toy":
    config.data.image_size = (128, 96)
    config.optim.update(num_steps=300, warmup_steps=20)
  return config
