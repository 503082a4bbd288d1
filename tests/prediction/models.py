"""Tiny task models of formula weights, and a folder to predict for."""

import json
import pathlib

import numpy as np
from PIL import Image

from sapiens2_jax.prediction import options
from sapiens2_jax.tasks import Task, registry
from sapiens2_jax.tasks.output import Output
from tests.interop import samples, task_samples

SIZES = {"tall/<a> b.png": (90, 50), "wide.jpg": (41, 120)}  # height, width
BROKEN = "broken.jpg"


def write_model(folder: pathlib.Path, task: str) -> pathlib.Path:
  """As released, but for images of 64 x 48; returns the file."""
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(
    json.dumps({"image_size": task_samples.IMAGE_SIZE})
  )
  arrays = task_samples.arrays(task_samples.HEADS[task])
  return samples.write(folder / "model.safetensors", arrays)


def write_images(folder: pathlib.Path) -> pathlib.Path:
  """Smooth pictures of the sizes above, and one that is none."""
  rng = np.random.default_rng(0)
  for name, (height, width) in SIZES.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    small = rng.integers(0, 256, (5, 4, 3), np.uint8)
    Image.fromarray(small).resize((width, height), Image.BICUBIC).save(path)
  (folder / BROKEN).write_bytes(b"no image")
  return folder


def make_output(name: str, task: Task | None, **given: str | bool) -> Output:
  """As the command makes it of flags."""
  definition = registry.definition(name)
  chosen = options.read_options(definition, given)
  return options.output_class(definition)(task, chosen)
