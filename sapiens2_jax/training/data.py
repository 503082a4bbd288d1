"""From a config to batches on the mesh."""

import functools
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from data_pipelines import sources
from data_pipelines.loading.loader import Batch, LoaderConfig, make_loader
from data_pipelines.loading.prefetch import Prefetcher
from data_pipelines.loading.skips import Skipped
from data_pipelines.open_source import open_field
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.runtime import gathering
from sapiens2_jax.training.objective import Objective
from sapiens2_jax.training.rows import part_of


class Loaded(NamedTuple):
  """One step's batch: on the host, on the mesh, and what was left out."""

  host: Batch
  batch: dict[str, jax.Array]
  skipped: list[Skipped]


def open_source(objective: Objective) -> sources.ImageSource:
  """Opens `data.path`; errors name the field.

  All processes must call this.

  Raises:
    ValueError: there is nothing to open, nothing to learn from, or something
      else on another host.
  """
  path = objective.config.data.path
  source = open_field("data.path", path)
  objective.check_source(source, f"data.path={path}")
  check_shared(source, f"data.path={path}")
  return source


def describe(source: sources.ImageSource) -> dict:
  """What a checkpoint says of its data; another corpus has another one."""
  return {"records": len(source), "hash": source.identity()}


def check_shared(source: sources.ImageSource, given: str) -> None:
  """All processes must have opened the same: each takes its share of it.

  All processes must call this; `given` says what was opened, for the message.

  Raises:
    ValueError: a process has other images than process 0.
  """
  gathering.check_same(describe(source), given, "images")


def loader_config(objective: Objective) -> LoaderConfig:
  """The whole loader."""
  config, data = objective.config, objective.config.data
  first, *later = objective.stages()
  return LoaderConfig(
    examples=first.objective.example_maker(),
    later=tuple((s.first, s.objective.example_maker()) for s in later),
    global_batch_size=data.global_batch_size,
    accumulation_steps=data.accumulation_steps,
    seed=config.seed,
    num_workers=data.num_workers,
    prefetch=data.prefetch,
    read_attempts=data.read_attempts,
    read_timeout=data.read_timeout,
  )


def make_prefetcher(
  objective: Objective,
  source: sources.ImageSource,
  mesh: Mesh,
  *,
  start_step: int,
  num_steps: int,
) -> Prefetcher:
  """Loads this process's part of each step and places it on the mesh, ahead.

  Args:
    start_step: number of the first batch.
    num_steps: how many.

  Returns:
    An iterator of `Loaded`; call its `close()`.
  """
  put = functools.partial(
    jax.make_array_from_process_local_data, mesh_lib.batch_sharding(mesh)
  )

  def place(item: tuple[Batch, list[Skipped]]) -> Loaded:
    host, skipped = item
    return Loaded(host, jax.tree.map(put, host), skipped)

  part = part_of(mesh)
  loader = make_loader(
    source,
    loader_config(objective),
    start_step=start_step,
    num_steps=num_steps,
    process_index=part.index,
    process_count=part.count,
  )
  data = objective.config.data
  return Prefetcher(
    loader, place, depth=data.device_prefetch, timeout=data.batch_timeout
  )
