"""Batches of examples as a pure function of the step number."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shutil
import time

import grain.python as grain
import numpy as np
from absl import flags

from data_pipelines import sources
from data_pipelines.common import memory, worker_pool
from data_pipelines.common.errors import UnusableExample
from data_pipelines.loading import order, skips
from data_pipelines.loading.examples import ElementSpec, ExampleMaker

Batch = dict[str, np.ndarray]

_SHARED_MEMORY = "/dev/shm"
MAX_RESTARTS = 3  # Of the workers in a row, without a batch in between.
_MAX_RECORDS = 2**31 - 1  # A batch holds record numbers as int32.


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
  """What is loaded, and by how many processes and threads.

  Attributes:
    examples: what a record is made into.
    later: (first step, examples): what takes their place from a step on, in
      order; for arrays of other shapes.
    global_batch_size: examples a step over all processes.
    accumulation_steps: microbatches a step.
    seed: of the order, 0 to 2**32 - 1.
    shuffle: a new order each epoch; False reads in record order.
    num_workers: data processes; 0 works in threads of this one. Changes
      speed only.
    num_threads: in each process; each makes whole batches. 0 loads a batch
      when it is asked for.
    prefetch: batches to hold ready in each process, at least `num_threads`.
    max_attempts: records to try for one example before giving up.
    read_attempts: reads of one record before its file counts as lost.
    read_timeout: seconds for one read.
    backoff: seconds before the second attempt of a read, or of starting
      workers that died; doubles each time.
  """

  examples: ExampleMaker
  global_batch_size: int
  accumulation_steps: int = 1
  seed: int = 0
  shuffle: bool = True
  num_workers: int = 0
  num_threads: int = 2
  prefetch: int = 2
  max_attempts: int = 16
  read_attempts: int = 5
  read_timeout: float = 60.0
  backoff: float = 1.0
  later: tuple[tuple[int, ExampleMaker], ...] = ()

  def examples_at(self, step: int) -> ExampleMaker:
    """What the records of a step are made into."""
    found = [examples for first, examples in self.later if first <= step]
    return found[-1] if found else self.examples


def batch_shapes(examples: ExampleMaker) -> ElementSpec:
  """Shape and dtype of one example's part of each array of a batch."""
  return {
    **examples.element_spec(),
    "index": ((), np.int32),
    "epoch": ((), np.int32),
  }


def make_loader(
  source: sources.ImageSource,
  config: LoaderConfig,
  *,
  start_step: int,
  num_steps: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Loader:
  """Iterates over this process's part of each global batch.

  Step s holds the positions s * B to (s + 1) * B - 1 of the endless sequence
  `order.Order`. Within a step, positions are laid out first by microbatch,
  then by process, so neither the number of processes nor of workers changes
  what a global batch holds, and a run continues from the step number alone.

  Args:
    source: what to read; a `Mixture` is drawn from by its weights.
    config: see there.
    start_step: the first step.
    num_steps: how many steps.
    process_index: which part, 0 to process_count - 1.
    process_count: into how many parts each microbatch is cut.

  Returns:
    An iterator of (Batch, list of Skipped); call its `close()` if it is not
    read to the end. With a = accumulation_steps and m = examples of one
    process in one microbatch, a Batch is a dict of
      the arrays of the step's examples, each behind axes (a, m);
      index: (a, m) int32, the record used;
      epoch: (a, m) int32, how often the record had been seen before.
    Reading it raises ShardReadError for a file that stays unreadable,
    WorkerDied if the workers keep dying or have no room for batches, and
    NoUsableImage if an example found none.

  Raises:
    ValueError: sizes that do not divide, an empty source, or a number out of
      its range; the message has the numbers.
  """
  _check(source, config, start_step, num_steps, process_index, process_count)
  if not flags.FLAGS.is_parsed():
    # Grain reads its own flags, and in a notebook nobody has parsed any.
    flags.FLAGS.mark_as_parsed()
  load = _StepLoader(source, config, process_index, process_count)
  return Loader(load, config, start_step, start_step + num_steps)


class NoUsableImage(RuntimeError):
  """No example can be made of a record and all its stand-ins."""


class WorkerDied(RuntimeError):
  """A data process ended without an error: killed, or out of memory.

  Or it would, because batches do not fit into shared memory."""


class Loader:
  """Iterates over (Batch, list of Skipped); starts dead workers again.

  All its state is the number of the next step, so what a new set of workers
  makes continues exactly where the dead ones were.
  """

  def __init__(
    self,
    load: _StepLoader,
    config: LoaderConfig,
    start_step: int,
    end_step: int,
  ):
    self._load = load
    self._config = config
    self._next_step = start_step
    self._end_step = end_step
    self._iterator = None  # Started by the first read.

  def __iter__(self) -> Loader:
    return self

  def __next__(self) -> tuple[Batch, list[skips.Skipped]]:
    if self._iterator is None:
      self._iterator = self._start()
    pause = self._config.backoff
    for _ in range(MAX_RESTARTS):
      try:
        return self._read()
      except WorkerDied as error:
        logging.warning("%s; starting again in %.3g s", error, pause)
      self.close()
      time.sleep(pause)
      pause *= 2
      self._iterator = self._start()
    try:
      return self._read()
    except WorkerDied as error:
      raise WorkerDied(f"{error}, {MAX_RESTARTS + 1} times in a row") from error

  def close(self) -> None:
    """Stops the workers; must be called if not all was read."""
    if self._iterator is not None:
      self._iterator.close()

  def _start(self) -> grain.DatasetIterator:
    config = self._config
    options = grain.ReadOptions(
      num_threads=config.num_threads, prefetch_buffer_size=config.prefetch
    )
    steps = grain.MapDataset.range(self._next_step, self._end_step)
    dataset = steps.map(self._load).to_iter_dataset(options)
    if config.num_workers:
      _check_shared_memory(config.num_workers, self._load.num_bytes)
      dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=config.num_workers),
        worker_init_fn=_start_worker,
      )
    return iter(dataset)

  def _read(self) -> tuple[Batch, list[skips.Skipped]]:
    try:
      item = next(self._iterator)
    except RuntimeError as error:
      if "terminated unexpectedly" not in str(error):  # Grain's own words.
        raise
      raise WorkerDied(
        f"step {self._next_step}: a data worker died ({error})"
      ) from error
    self._next_step += 1
    return item


def _check_shared_memory(num_workers: int, num_bytes: int) -> None:
  """Raises WorkerDied if batches do not fit: a process that finds that out
  itself is killed, and nobody knows why.

  Args:
    num_workers: of the data; each holds a batch that is ready and one that is
      being made.
    num_bytes: of a batch.
  """
  if not os.path.isdir(_SHARED_MEMORY):  # Other systems have it elsewhere.
    return
  if not os.access(_SHARED_MEMORY, os.W_OK):
    raise WorkerDied(
      f"{_SHARED_MEMORY}: cannot be written; data processes hand over their "
      "batches there. Mount it, or set data.num_workers=0."
    )
  needed, free = 2 * num_workers * num_bytes, shutil.disk_usage(_SHARED_MEMORY)
  if free.free < needed:
    raise WorkerDied(
      f"{_SHARED_MEMORY}: {free.free / 1e6:.0f} MB free, num_workers="
      f"{num_workers} with batches of {num_bytes / 1e6:.0f} MB need "
      f"{needed / 1e6:.0f} MB; make it larger (docker run --shm-size=...), or "
      "lower data.num_workers."
    )


def _start_worker(worker_index: int, worker_count: int) -> None:
  del worker_index, worker_count
  worker_pool.end_with_parent()
  memory.keep_freed_memory()


class _StepLoader:
  """Makes one process's batch of a step; picklable, holds no state."""

  def __init__(self, source, config, process_index, process_count):
    self._source = sources.RetryingSource(
      source,
      attempts=config.read_attempts,
      timeout=config.read_timeout,
      backoff=config.backoff,
    )
    self._config = config
    self._process_index = process_index
    self._process_count = process_count
    parts = [len(source)], [1]
    if isinstance(source, sources.Mixture):
      parts = source.sizes, source.weights
    self._order = order.Order(*parts, seed=config.seed, shuffle=config.shuffle)

  @property
  def num_bytes(self) -> int:
    """Of the largest batch of this process."""
    config = self._config
    makers = config.examples, *(examples for _, examples in config.later)
    return (config.global_batch_size // self._process_count) * max(
      sum(
        math.prod(size) * np.dtype(dtype).itemsize
        for size, dtype in batch_shapes(examples).values()
      )
      for examples in makers
    )

  def __call__(self, step: int) -> tuple[Batch, list[skips.Skipped]]:
    config = self._config
    micro = config.global_batch_size // config.accumulation_steps
    own = micro // self._process_count
    shape = (config.accumulation_steps, own)
    examples = config.examples_at(step)
    batch = {
      name: np.empty((*shape, *size), dtype)
      for name, (size, dtype) in batch_shapes(examples).items()
    }
    skipped = []
    first = step * config.global_batch_size + self._process_index * own
    for slot in np.ndindex(shape):
      wanted, epoch = self._order[first + slot[0] * micro + slot[1]]
      # Views also of the arrays that have one number an example.
      out = {name: array[(*slot, ...)] for name, array in batch.items()}
      out["epoch"][...] = epoch
      out["index"][...], failed = self._make_usable(
        examples, wanted, epoch, out
      )
      skipped += failed
    return batch, skipped

  def _make_usable(self, examples, wanted, epoch, out):
    """Fills `out` from a record, or from the first usable stand-in."""
    failed = []
    records = self._order.source_of(wanted)
    for index in _candidates(wanted, records, self._config.max_attempts):
      try:
        record = self._source[index]
      except UnusableExample as error:
        failed.append(_skipped(self._source.name(index), error))
        continue
      try:
        examples.make(record, index, epoch, out)
        return index, failed
      except UnusableExample as error:
        failed.append(_skipped(record.name, error))
    raise NoUsableImage(
      f"record {wanted}: it and its stand-ins cannot be used: "
      + ", ".join(f"{item.name} ({item.reason})" for item in failed)
    )


def _skipped(name: str, error: UnusableExample) -> skips.Skipped:
  return skips.Skipped(name, error.reason, error.detail)


def _candidates(wanted: int, records: range, max_attempts: int) -> list[int]:
  """The record and its stand-ins of the same source, all different.

  Far from one another (steps of the golden section), because neighbours in a
  corpus tend to be broken together.
  """
  size = len(records)
  stride = max(1, round(0.618 * size))
  while math.gcd(stride, size) > 1:
    stride += 1
  return [
    records[(wanted - records.start + attempt * stride) % size]
    for attempt in range(min(max_attempts, size))
  ]


def _check(source, config, start_step, num_steps, process_index, process_count):
  """Raises ValueError unless every number can be used as it is."""
  if not len(source):
    raise ValueError("source: it has no records.")
  if len(source) > _MAX_RECORDS:
    raise ValueError(
      f"source: {len(source)} records, at most {_MAX_RECORDS} can be numbered."
    )
  batch, accumulation = config.global_batch_size, config.accumulation_steps
  for name, value, least in (
    ("global_batch_size", batch, 1),
    ("accumulation_steps", accumulation, 1),
    ("process_count", process_count, 1),
    ("max_attempts", config.max_attempts, 1),
    ("num_workers", config.num_workers, 0),
    ("num_threads", config.num_threads, 0),
    ("start_step", start_step, 0),
    ("num_steps", num_steps, 0),
    ("seed", config.seed, 0),
    ("prefetch", config.prefetch, config.num_threads),
  ):
    if value < least:
      raise ValueError(f"{name}={value} must be at least {least}.")
  if config.seed >= 2**32:
    raise ValueError(f"seed={config.seed} must be below 2**32.")
  if batch % accumulation:
    raise ValueError(
      f"accumulation_steps={accumulation} must divide "
      f"global_batch_size={batch}."
    )
  if batch // accumulation % process_count:
    raise ValueError(
      f"process_count={process_count} must divide the microbatch of "
      f"{batch // accumulation} (global_batch_size={batch} / "
      f"accumulation_steps={accumulation})."
    )
  if not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index={process_index} must be in [0, {process_count})."
    )
