"""From a config to batches on the mesh."""

import collections
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines import open_source as opening
from data_pipelines import sources
from data_pipelines.common.errors import UnusableExample
from data_pipelines.loading.crops import CropConfig
from data_pipelines.loading.examples import ExampleMaker
from data_pipelines.loading.loader import Batch, LoaderConfig, make_loader
from data_pipelines.loading.prefetch import Prefetcher
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.loading.skips import Skipped
from sapiens2_jax import tasks
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.tasks.examples import TaskExamples, read_labels

_NUM_LOOKED_AT = 32  # records


class Loaded(NamedTuple):
  """One step's batch: on the host, on the mesh, and what was left out."""

  host: Batch
  batch: dict[str, jax.Array]
  skipped: list[Skipped]


def open_source(config: ConfigDict) -> sources.ImageSource:
  """Opens `data.path`; errors name the field.

  Raises:
    ValueError: there is nothing to open, or a task finds no labels in it.
  """
  given = f"data.path={config.data.path}"
  try:
    source = opening.open_source(config.data.path)
  except ValueError as error:
    raise ValueError(f"{given}: {error}") from error
  if "task" in config:
    check_labels(source, tasks.make_task(config), given)
  return source


def open_evaluation_source(config: ConfigDict) -> sources.ImageSource:
  """Opens `evaluation.path`; errors name the field."""
  path = config.evaluation.path
  try:
    source = opening.open_source(path)
  except ValueError as error:
    raise ValueError(f"evaluation.path={path}: {error}") from error
  check_labels(source, tasks.make_task(config), f"evaluation.path={path}")
  data = config.data
  return sources.RetryingSource(
    source, attempts=data.read_attempts, timeout=data.read_timeout
  )


def check_labels(
  source: sources.ImageSource, task: tasks.Task, given: str
) -> None:
  """Looks at some records, so that a run without labels does not start.

  Args:
    source: of the records.
    task: needs them.
    given: what the source is called in the message.

  Raises:
    ValueError: none of those that were looked at can be used.
  """
  looked_at = range(0, len(source), -(-len(source) // _NUM_LOOKED_AT))
  reasons = collections.Counter()
  for number in looked_at:
    try:
      read_labels(source[number], task)
      return
    except UnusableExample as error:
      reasons[error.reason] += 1
  found = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
  raise ValueError(
    f"{given}: task.name={task.name} needs labels ({', '.join(task.needs)}), "
    f"but none of the {len(looked_at)} images that were looked at has them: "
    f"{found}."
  )


def crop_config(config: ConfigDict) -> CropConfig:
  """The views of one image."""
  data = config.data
  return CropConfig(
    global_size=tuple(data.image_size),
    local_size=tuple(data.local_size),
    num_global=data.num_global,
    num_local=data.num_local,
    global_area=tuple(data.global_area),
    local_area=tuple(data.local_area),
  )


def example_maker(config: ConfigDict) -> ExampleMaker:
  """What a record becomes: crops, or an image with targets of a task."""
  settings = {"seed": config.seed, "max_pixels": config.data.max_pixels}
  if "task" in config:
    task = tasks.make_task(config)
    return TaskExamples(task, augment=config.data.augment, **settings)
  return PretrainExamples(crop_config(config), **settings)


def loader_config(config: ConfigDict) -> LoaderConfig:
  """The whole loader."""
  data = config.data
  return LoaderConfig(
    examples=example_maker(config),
    global_batch_size=data.global_batch_size,
    accumulation_steps=data.accumulation_steps,
    seed=config.seed,
    num_workers=data.num_workers,
    prefetch=data.prefetch,
    read_attempts=data.read_attempts,
    read_timeout=data.read_timeout,
  )


def make_prefetcher(
  config: ConfigDict,
  source: sources.ImageSource,
  mesh: Mesh,
  *,
  start_step: int,
  num_steps: int,
) -> Prefetcher:
  """Loads this process's part of each step and places it on the mesh, ahead.

  Args:
    config: the experiment.
    source: of the images.
    mesh: of the run.
    start_step: number of the first batch.
    num_steps: how many.

  Returns:
    An iterator of `Loaded`; call its `close()`.
  """
  sharding = mesh_lib.batch_sharding(mesh)

  def place(item: tuple[Batch, list[Skipped]]) -> Loaded:
    host, skipped = item
    batch = {
      name: jax.make_array_from_process_local_data(sharding, array)
      for name, array in host.items()
    }
    return Loaded(host, batch, skipped)

  loader = make_loader(
    source,
    loader_config(config),
    start_step=start_step,
    num_steps=num_steps,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  data = config.data
  return Prefetcher(
    loader, place, depth=data.device_prefetch, timeout=data.batch_timeout
  )
