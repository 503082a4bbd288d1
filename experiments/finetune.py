r"""Fine-tuning of a whole encoder on one human task, any size.

Run:    python -m sapiens2_jax.train --workdir runs/normal \
          --config experiments/finetune.py:task=normal,size=0.4b \
          --config.data.path=/data/labelled \
          --config.model.init_from=sapiens2_0.4b.safetensors
Smoke:  --config experiments/finetune.py:task=normal,size=toy (CPU, minutes)
Tasks:  a file each in tasks/; seg is short for segmentation
Sizes:  toy and those for which the task's file has values
Needs:  for all sizes but toy a TPU or GPU mesh [estimate; not yet run]

What depends on the task (head, learning rate, steps, clipping, decay over
depth) is in tasks/. Values are marked: `reference` is what the public Sapiens2
release does, `ours` a choice of this project.
"""

import pathlib

import ml_collections

from sapiens2_jax import errors
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.config import load_module, parse_argument

_FOLDER = pathlib.Path(__file__).parent
_ALIASES = {"seg": "segmentation"}
_common = load_module(_FOLDER / "common.py")


def get_config(
  argument: str = "task=normal,size=0.4b",
) -> ml_collections.ConfigDict:
  given = parse_argument(argument, task="normal", size="0.4b")
  files = {path.stem: path for path in (_FOLDER / "tasks").glob("*.py")}
  name = _ALIASES.get(given["task"], given["task"])
  errors.lookup(ARCHITECTURES, given["size"], "size")
  task = load_module(errors.lookup(files, name, "task"))
  return make_config(given["size"], task.get_task(given["size"]))


def make_config(size: str, task: dict) -> ml_collections.ConfigDict:
  """The shared groups, and the groups of a task over them."""
  config = _common.get_common(size)

  config.data.update(
    {
      "global_batch_size": 64,  # ours
      "image_size": (1024, 768),  # reference: height, width
      "augment": True,  # reference; False (ours): images as at test time
      # Ours: the run stops above. Augmentation may leave nothing of a person,
      # and another image is taken.
      "max_skipped_share": 0.2,
    }
  )

  config.optim.update(
    {
      "name": "adamw",  # reference; muon (ours): its matrices by Muon
      "num_steps": 20_000,  # of the task
      "schedule": "linear",  # reference
      "warmup_steps": 500,  # reference
      "peak_lr": 5e-4,  # of the task
      "final_lr": 0.0,  # reference
      "b1": 0.9,  # reference
      "b2": 0.999,  # reference
      "eps": 1e-8,  # reference
      "weight_decay": 0.1,  # reference
      "decay_tokens": True,  # reference
      "clip_norm": 4.0,  # of the task
      # Learning rate of a layer over that of the next one: of the task.
      "layer_decay": 0.8,
    }
  )
  config.checkpoint.keep_every = 10_000

  # The task's metric, on whole images of a labelled set, in one process.
  config.evaluation = ml_collections.ConfigDict(
    {
      "every": 0,  # steps, and at the end; 0: never
      "path": "",  # a corpus with labels
      "num_images": 0,  # from the first; 0: all
    }
  )

  if size == "toy":
    _make_toy(config)
  for group, values in task.items():
    if group not in config:
      config[group] = ml_collections.ConfigDict()
    config[group].update(values)
  return config


def _make_toy(config: ml_collections.ConfigDict) -> None:
  """Shrinks everything for minutes on two CPU cores; all values: ours.

  For an encoder that starts at random: it learns at once, in all layers.
  """
  config.model.update(layer_scale_init=1.0)
  # So short a run on a corpus like that of toy_tasks sees an image once or
  # twice, as it is.
  config.data.update(global_batch_size=8, image_size=(128, 96), augment=False)
  # For normals it needed less than half of the images that AdamW did.
  config.optim.update(name="muon", warmup_steps=50, b2=0.95)
  config.checkpoint.update(every=500, keep_every=1000)
