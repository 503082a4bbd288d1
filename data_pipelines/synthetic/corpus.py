"""Corpora of synthetic people, of the form that build_corpus makes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable

from data_pipelines.building import packing, workspace
from data_pipelines.common import memory, worker_pool
from data_pipelines.corpus import records, writer
from data_pipelines.synthetic import backgrounds, body, samples

DEFAULT_SHARD_SIZE = 200
_MAX_SIZE = (4096, 3072)
# People, and photographs for their backgrounds.
Inputs = tuple[samples.People, backgrounds.Photographs]
Load = Callable[[], Inputs]
_MIN_SIDE = 32  # pixels


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a corpus is to hold; the same plan gives the same bytes.

  Raises:
    ValueError: a number out of its range.
  """

  count: int  # images
  seed: int  # of all that is drawn
  size: tuple[int, int]  # height and width in pixels
  shard_size: int = DEFAULT_SHARD_SIZE  # images a shard
  empty: float = 0.0  # share of images that show nobody

  def __post_init__(self):
    for name in ("count", "shard_size"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
    if self.seed < 0:
      raise ValueError(f"seed={self.seed} must be at least 0.")
    if not 0 <= self.empty <= 1:
      raise ValueError(f"empty={self.empty} must be between 0 and 1.")
    shorter, longer = sorted(self.size)
    if shorter < _MIN_SIDE or shorter > _MAX_SIZE[1] or longer > _MAX_SIZE[0]:
      raise ValueError(
        "size={}x{} must be between {}x{} and {}x{} pixels, either side the "
        "longer one.".format(*self.size, _MIN_SIDE, _MIN_SIDE, *_MAX_SIZE)
      )


@functools.cache
def load_inputs(directory: str | os.PathLike | None) -> Inputs:
  """Reads bodies and photographs, once a process; see `assets.find_assets`."""
  memory.keep_freed_memory()  # Maps are large; new pages cost as much.
  return body.BodyModel(directory), backgrounds.find_photographs(directory)


def build_synthetic(
  output: str | os.PathLike, plan: Plan, *, load: Load, num_workers: int = 0
) -> tuple[dict, bool]:
  """Renders a corpus, continues an unfinished one, or finds it complete.

  The bytes depend neither on the number of workers nor on how often the work
  was interrupted; finished shards are kept.

  Args:
    output: directory to make, on a disk.
    plan: what it holds.
    load: gives people and photographs, once in each process; picklable.
    num_workers: processes; 0 works in this one. They import the main module,
      which must not start anything by that.

  Returns:
    The manifest, and whether it was completed now.

  Raises:
    ValueError: an output that exists and holds something else.
    OSError: something cannot be read or written, or a worker was ended; what
      is done so far is kept, the same call continues.
  """
  workspace.check_local(output)
  workers = worker_pool.WorkerPool(num_workers)
  arguments = json.loads(json.dumps(dataclasses.asdict(plan)))
  if not plan.empty:  # As corpora that were made before it was there.
    del arguments["empty"]
  arguments |= {"synthetic": samples.VERSION, "version": records.VERSION}
  text = json.dumps(arguments, sort_keys=True)
  inputs_hash = hashlib.sha256(text.encode()).hexdigest()
  manifest = workspace.find_complete(
    output,
    lambda: inputs_hash,
    "of another count, seed, size, shard_size, empty or version",
  )
  if manifest is not None:
    return manifest, False
  with workspace.open_building(output, arguments) as building, workers:
    shards = packing.run_shards(
      building,
      packing.plan_shards([plan.count], plan.count, plan.shard_size),
      functools.partial(_write_shard, building, plan, load),
      workers,
      label="rendering",
    )
    provenance = {"inputs_hash": inputs_hash}
    manifest = writer.commit(building.corpus, shards, provenance=provenance)
  return manifest, True


def _write_shard(
  building: workspace.Building, plan: Plan, load: Load, shard: packing.Shard
) -> int:
  people, photographs = load()
  first = shard.number * plan.shard_size
  contents = (
    samples.make_record(
      people,
      photographs,
      plan.size,
      seed=plan.seed,
      index=index,
      empty=plan.empty,
    )
    for index in range(first, first + shard.num_records)
  )
  return packing.pack_shard(building, shard, contents, compress=True)
