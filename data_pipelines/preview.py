r"""Shows what the model sees: the examples of one step as a PNG.

Run:  python -m data_pipelines.preview --output page.png \
        --config experiments/pretrain.py:size=toy \
        --config.data.path=/data/corpus [--step 0] [--examples 4]

The crops come from the run's own loader; flips, augmentation and masks from
the functions and keys of its training step. Boxes are (top, left, height,
width) in pixels of the original. Needs sapiens2_jax beside this package.
"""

import dataclasses
import functools
import os
import sys

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from data_pipelines import crops, images, sources
from data_pipelines.loader import NoUsableImage, make_loader
from data_pipelines.preview_page import ORIGINAL_SIZE, Example, draw_page
from sapiens2_jax import command, train
from sapiens2_jax.augment import images as image_ops
from sapiens2_jax.augment import views
from sapiens2_jax.objectives.pretrain import PretrainObjective, build_pretrain
from sapiens2_jax.report import pictures
from sapiens2_jax.training import data
from sapiens2_jax.training import state as state_lib

_OUTPUT = flags.DEFINE_string("output", None, "PNG file to write.")
_STEP = flags.DEFINE_integer("step", 0, "Of training.", lower_bound=0)
_EXAMPLES = flags.DEFINE_integer(
  "examples", 4, "The first so many of the step's batch.", lower_bound=1
)
_PREFIX = "--config."


def load_batch(
  config: ConfigDict, source: sources.ImageSource, step: int, count: int
) -> views.Batch:
  """The first `count` examples of a step, leaves (count, ...).

  Raises:
    ValueError: if the first microbatch has fewer.
  """
  settings = data.loader_config(config)
  micro = settings.global_batch_size // settings.accumulation_steps
  if count > micro:
    raise ValueError(
      f"examples={count} is more than the {micro} of a microbatch."
    )
  # The part of the first of many processes: no more is decoded than needed.
  share = next(n for n in range(count, micro + 1) if micro % n == 0)
  loader = make_loader(
    source,
    dataclasses.replace(settings, num_workers=0),
    start_step=step,
    num_steps=1,
    process_count=micro // share,
  )
  batch, skipped = next(loader)
  loader.close()
  for item in skipped:
    print(f"left out   {item.name}: {item.reason}", file=sys.stderr)
  return {name: leaf[0, :count] for name, leaf in batch.items()}


@functools.partial(jax.jit, static_argnums=0)
def _see(objective: PretrainObjective, batch: views.Batch, rng: jax.Array):
  augment = objective.config.augment.to_dict()
  return (
    views.global_views(batch, rng),
    views.local_views(batch, rng, augment),
    objective.draw_masks(batch, rng)[1],
  )


def read_examples(config: ConfigDict, step: int, count: int) -> list[Example]:
  """What the model is shown of the first `count` examples of a step."""
  source, objective = train.open_source(config), build_pretrain(config)
  batch = load_batch(config, source, step, count)
  global_views, local_views, masked = jax.device_get(
    _see(objective, batch, state_lib.run_key(config.seed))
  )
  hidden = np.zeros((*masked.shape[:2], np.prod(objective.grid)), bool)
  np.put_along_axis(hidden, masked, True, axis=2)
  hidden = hidden.reshape(*masked.shape[:2], *objective.grid)
  crop_config, examples = data.crop_config(config), []
  for i in range(count):
    index, epoch = int(batch["index"][i]), int(batch["epoch"][i])
    record = source[index]
    size = (record.height, record.width)
    boxes = crops.draw_boxes(
      *size, crop_config, seed=config.seed, index=index, epoch=epoch
    )
    original = images.decode_image(
      record.image,
      min_size=ORIGINAL_SIZE,
      max_pixels=config.data.max_pixels,
    )
    examples.append(
      Example(
        record.name,
        index,
        epoch,
        original,
        size,
        boxes,
        (global_views.flipped[i], local_views.flipped[i]),
        _to_pixels(global_views.images[i]),
        hidden[i],
        batch["local_crops"][i],
        _to_pixels(local_views.images[i]),
        jax.tree.map(lambda leaf, i=i: leaf[i], local_views.photometric),
      )
    )
  return examples


def _to_pixels(normalized: np.ndarray) -> np.ndarray:
  return np.clip(np.asarray(image_ops.denormalize(normalized)), 0, 1)


def check_output(path: str) -> None:
  """Raises ValueError if no file can be made there."""
  folder = os.path.dirname(path) or "."
  if not os.path.isdir(folder):
    raise ValueError(f"output={path}: no such directory: {folder}")
  if os.path.isdir(path):
    raise ValueError(f"output={path}: is a directory; name a PNG file.")


def write_page(path: str, page: Image.Image) -> None:
  """Writes the file whole or not at all."""
  with open(f"{path}.partial", "wb") as file:
    file.write(pictures.to_png(page))
  os.replace(f"{path}.partial", path)


def main(overrides: list[str]) -> int:
  config, output = train.load_config(overrides), _OUTPUT.value
  check_output(output)
  try:
    examples = read_examples(config, _STEP.value, _EXAMPLES.value)
  except (NoUsableImage, sources.ShardReadError) as error:
    command.fail(str(error), code=1)
  title = f"What the model sees at step {_STEP.value}, seed {config.seed}"
  write_page(output, draw_page(examples, title))
  print(f"{output}: {len(examples)} examples of step {_STEP.value}")
  return 0


if __name__ == "__main__":
  command.run(
    functools.partial(
      main, [a.removeprefix(_PREFIX) for a in sys.argv if a.startswith(_PREFIX)]
    ),
    *("config", "output"),
    argv=[a for a in sys.argv if not a.startswith(_PREFIX)],
  )
