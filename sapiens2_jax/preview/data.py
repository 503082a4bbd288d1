"""The examples of one step, as the training step makes them."""

import dataclasses
import functools
import operator
import sys

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.loading import crops
from data_pipelines.loading.loader import make_loader
from sapiens2_jax.models.pixels import denormalize
from sapiens2_jax.pretrain import views
from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.pretrain.objective import PretrainObjective, build_pretrain
from sapiens2_jax.preview.page import ORIGINAL_SIZE, Example
from sapiens2_jax.training import data, stages
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.objective import Objective


def load_batch(
  objective: Objective, source: sources.ImageSource, step: int, count: int
) -> views.Batch:
  """The first `count` examples of a step, leaves (count, ...).

  Raises:
    ValueError: if the first microbatch has fewer.
  """
  settings = data.loader_config(objective)
  micro = settings.global_batch_size // settings.accumulation_steps
  if count > micro:
    raise ValueError(
      f"examples={count} is more than the {micro} of a microbatch."
    )
  # The part of the first of many processes: no more is decoded than needed.
  part = next(n for n in range(count, micro + 1) if micro % n == 0)
  loader = make_loader(
    source,
    dataclasses.replace(settings, num_workers=0),
    start_step=step,
    num_steps=1,
    process_count=micro // part,
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
    objective.make_views(batch, rng).masked_ids,
  )


def read_examples(config: ConfigDict, step: int, count: int) -> list[Example]:
  """What the model is shown of the first `count` examples of a step."""
  whole = build_pretrain(config)
  source = data.open_source(whole)
  batch = load_batch(whole, source, step, count)
  objective = stages.stage_at(whole.stages(), step).objective
  global_views, local_views, masked = jax.device_get(
    _see(objective, batch, state_lib.run_key(config.seed))
  )
  hidden = np.zeros((*masked.shape[:2], objective.grid.num_tokens), bool)
  np.put_along_axis(hidden, masked, True, axis=2)
  hidden = hidden.reshape(*masked.shape[:2], *objective.grid.shape)
  settings, examples = crop_config(objective.config), []
  for i in range(count):
    index, epoch = int(batch["index"][i]), int(batch["epoch"][i])
    record = source[index]
    size = (record.height, record.width)
    boxes = crops.draw_boxes(
      *size, settings, seed=config.seed, index=index, epoch=epoch
    )
    limits = {"min_size": ORIGINAL_SIZE, "max_pixels": config.data.max_pixels}
    example = Example(
      *(record.name, index, epoch),
      images.decode_image(record.image, **limits),
      size,
      boxes,
      (global_views.flipped[i], local_views.flipped[i]),
      _to_pixels(global_views.images[i]),
      hidden[i],
      batch["local_crops"][i],
      _to_pixels(local_views.images[i]),
      jax.tree.map(operator.itemgetter(i), local_views.photometric),
    )
    examples.append(example)
  return examples


def _to_pixels(normalized: np.ndarray) -> np.ndarray:
  return np.clip(np.asarray(denormalize(normalized)), 0, 1)
