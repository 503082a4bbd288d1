"""From a config to batches on the mesh."""

from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.crops import CropConfig
from data_pipelines.examples import ExampleMaker
from data_pipelines.loader import Batch, LoaderConfig, make_loader
from data_pipelines.prefetch import Prefetcher
from data_pipelines.pretrain_examples import PretrainExamples
from data_pipelines.skips import Skipped
from sapiens2_jax import tasks
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.tasks.examples import TaskExamples


class Loaded(NamedTuple):
  """One step's batch: on the host, on the mesh, and what was left out."""

  host: Batch
  batch: dict[str, jax.Array]
  skipped: list[Skipped]


def open_source(config: ConfigDict) -> sources.ImageSource:
  """Opens `data.path`; errors name the field."""
  try:
    return sources.open_source(config.data.path)
  except ValueError as error:
    raise ValueError(f"data.path={config.data.path}: {error}") from error


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
    return TaskExamples(tasks.make_task(config), **settings)
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
