"""Batches of crops as a pure function of the step number."""

from __future__ import annotations

import dataclasses
import math

import grain.python as grain
import numpy as np
from absl import flags

from data_pipelines import crops, images, skips, sources

Batch = dict[str, np.ndarray]

_PURPOSE_ORDER = 2


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
  """What is loaded, and with how many hands.

  Attributes:
    crops: the views of one image.
    global_batch_size: examples a step over all processes.
    accumulation_steps: microbatches a step.
    seed: of order and crops, 0 to 2**32 - 1.
    shuffle: a new order each epoch; False reads in record order.
    num_workers: data processes; 0 works in threads of this one. Changes
      speed only.
    num_threads: in each process; each makes whole batches. 0 loads a batch
      when it is asked for.
    prefetch: batches to hold ready in each process, at least `num_threads`.
    max_pixels: an image of more is skipped.
    max_attempts: images to try for one example before giving up.
  """

  crops: crops.CropConfig
  global_batch_size: int
  accumulation_steps: int = 1
  seed: int = 0
  shuffle: bool = True
  num_workers: int = 0
  num_threads: int = 2
  prefetch: int = 2
  max_pixels: int = images.DEFAULT_MAX_PIXELS
  max_attempts: int = 16


def make_loader(
  source: sources.ImageSource,
  config: LoaderConfig,
  *,
  start_step: int,
  num_steps: int,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.DatasetIterator:
  """Iterates over this process's part of each global batch.

  Step s holds the positions s * B to (s + 1) * B - 1 of one endless sequence.
  Position p belongs to epoch p // n; its record is a reshuffling of p % n,
  another one in each epoch. Within a step, positions are laid out first by
  microbatch, then by process, so neither the number of processes nor of
  workers changes what a global batch holds, and a run continues from the
  step number alone.

  Args:
    source: of n records.
    config: see there.
    start_step: the first step.
    num_steps: how many steps.
    process_index: which part, 0 to process_count - 1.
    process_count: into how many parts each microbatch is cut.

  Returns:
    An iterator of (Batch, list of Skipped); call its `close()` if it is not
    read to the end. With a = accumulation_steps and m = examples of one
    process in one microbatch, a Batch is a dict of
      global_crops: (a, m, num_global, h, w, 3) uint8;
      local_crops: (a, m, num_local, h, w, 3) uint8;
      index: (a, m) int32, the record used;
      epoch: (a, m) int32.
    Reading it raises RuntimeError if an example found no usable image.

  Raises:
    ValueError: sizes that do not divide, an empty source, or a number out of
      its range; the message has the numbers.
  """
  _check(source, config, start_step, num_steps, process_index, process_count)
  if not flags.FLAGS.is_parsed():
    # Grain reads its own flags, and in a notebook nobody has parsed any.
    flags.FLAGS.mark_as_parsed()
  load = _StepLoader(source, config, process_index, process_count)
  options = grain.ReadOptions(
    num_threads=config.num_threads, prefetch_buffer_size=config.prefetch
  )
  steps = grain.MapDataset.range(start_step, start_step + num_steps)
  dataset = steps.map(load).to_iter_dataset(options)
  if config.num_workers:
    dataset = dataset.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=config.num_workers)
    )
  return iter(dataset)


def make_order(
  num_records: int, *, seed: int, shuffle: bool = True
) -> grain.MapDataset:
  """The endless sequence of records: order[position] -> record index.

  Each record comes exactly once in each epoch of `num_records` positions.
  Nothing of size `num_records` is held in memory.
  """
  order = grain.MapDataset.range(num_records)
  if shuffle:
    # Grain adds the epoch to the seed; hashing keeps seed 1, epoch 0 apart
    # from seed 0, epoch 1.
    hashed = np.random.SeedSequence([seed, _PURPOSE_ORDER]).generate_state(1)
    order = order.shuffle(seed=int(hashed[0]))
  return order.repeat()


class _StepLoader:
  """Makes one process's batch of a step; picklable, holds no state."""

  def __init__(self, source, config, process_index, process_count):
    self._source = source
    self._config = config
    self._process_index = process_index
    self._process_count = process_count
    self._order = make_order(
      len(source), seed=config.seed, shuffle=config.shuffle
    )

  def __call__(self, step: int) -> tuple[Batch, list[skips.Skipped]]:
    config = self._config
    micro = config.global_batch_size // config.accumulation_steps
    share = micro // self._process_count
    shape = (config.accumulation_steps, share)
    views = config.crops
    batch = {
      "global_crops": np.empty(
        (*shape, views.num_global, *views.global_size, 3), np.uint8
      ),
      "local_crops": np.empty(
        (*shape, views.num_local, *views.local_size, 3), np.uint8
      ),
      "index": np.empty(shape, np.int32),
      "epoch": np.empty(shape, np.int32),
    }
    skipped = []
    first = step * config.global_batch_size + self._process_index * share
    for place in np.ndindex(shape):
      position = first + place[0] * micro + place[1]
      epoch = position // len(self._source)
      index, decoded, failed = self._decode_usable(
        int(self._order[position]), epoch
      )
      skipped += failed
      batch["index"][place] = index
      batch["epoch"][place] = epoch
      image, original_size, boxes = decoded
      for name, size, group in (
        ("global_crops", views.global_size, boxes[0]),
        ("local_crops", views.local_size, boxes[1]),
      ):
        for view, box in zip(batch[name][place], group):
          view[...] = crops.cut(image, box, original_size, size)
    return batch, skipped

  def _decode_usable(self, wanted, epoch):
    """Decodes the wanted record, or the first of its stand-ins that can be."""
    failed = []
    for index in _candidates(
      wanted, len(self._source), self._config.max_attempts
    ):
      try:
        return index, self._decode(index, epoch), failed
      except images.ImageDecodeError as error:
        name = self._source.name(index)
        failed.append(skips.Skipped(name, error.reason, error.detail))
    raise RuntimeError(
      f"record {wanted}: it and its stand-ins cannot be used: "
      + ", ".join(f"{item.name} ({item.reason})" for item in failed)
    )

  def _decode(self, index, epoch):
    """Decodes once for all views, no larger than they need."""
    record = self._source[index]
    size = (record.height, record.width)
    views = self._config.crops
    boxes = crops.draw_boxes(
      *size, views, seed=self._config.seed, index=index, epoch=epoch
    )
    image = images.decode_image(
      record.image,
      min_size=crops.required_size(*size, boxes, views),
      max_pixels=self._config.max_pixels,
    )
    return image, size, boxes


def _candidates(wanted: int, num_records: int, max_attempts: int) -> list[int]:
  """The record and its stand-ins, all different and far from one another.

  Far (steps of the golden section), because neighbours in a corpus tend to be
  broken together.
  """
  stride = max(1, round(0.618 * num_records))
  while math.gcd(stride, num_records) > 1:
    stride += 1
  return [
    (wanted + attempt * stride) % num_records
    for attempt in range(min(max_attempts, num_records))
  ]


def _check(source, config, start_step, num_steps, process_index, process_count):
  """Raises ValueError unless every number can be used as it is."""
  if not len(source):
    raise ValueError("source: it has no records.")
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
