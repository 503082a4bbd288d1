"""Which record comes at which position of the endless sequence."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence

import grain.python as grain
import numpy as np

from data_pipelines.common.random import Purpose, make_generator

_SMALL = 1024  # Records; below, Grain's shuffle takes up to 10 ms a record.


class Order:
  """order[position] -> (record, epoch), for one source or several.

  Sources are interleaved by their weights: the first p positions hold
  p * weight / sum(weights) examples of a source, give or take less than one
  for each source before it. Within a source, each record comes exactly once
  in each epoch, every epoch in another order. Nothing of the size of a
  source is held in memory.
  """

  def __init__(
    self,
    sizes: Sequence[int],
    weights: Sequence[int],
    *,
    seed: int,
    shuffle: bool = True,
  ):
    """Prepares an order.

    Args:
      sizes: records of each source; their records are numbered through.
      weights: of each source, whole numbers above 0.
      seed: of the order, 0 to 2**32 - 1.
      shuffle: False keeps each source's own order.
    """
    self._sizes = tuple(sizes)
    self._weights = tuple(weights)
    self._starts = tuple(sum(sizes[:i]) for i in range(len(sizes)))
    self._seed = seed
    self._shuffle = shuffle

  def __getitem__(self, position: int) -> tuple[int, int]:
    source, key = _find(position, self._weights)
    size = self._sizes[source]
    epoch, record = divmod(key, size)
    if self._shuffle and size <= _SMALL:
      record = _permutation(size, self._seed, source, epoch)[record]
    elif self._shuffle:
      record = _shuffle_large(size, self._seed, source)[key]
    return self._starts[source] + int(record), epoch

  def source_of(self, record: int) -> range:
    """All records of the source that a record belongs to."""
    source = bisect.bisect_right(self._starts, record) - 1
    start = self._starts[source]
    return range(start, start + self._sizes[source])


@functools.lru_cache(maxsize=64)
def _permutation(size: int, seed: int, number: int, epoch: int) -> np.ndarray:
  generator = make_generator(
    Purpose.ORDER, seed=seed, index=number, epoch=epoch
  )
  raw = generator.bit_generator.random_raw(size)
  return np.argsort(raw, kind="stable")


@functools.lru_cache(maxsize=64)
def _shuffle_large(size: int, seed: int, number: int) -> grain.MapDataset:
  # Grain adds the epoch to the seed; hashing keeps seed 1, epoch 0 apart from
  # seed 0, epoch 1.
  hashed = np.random.SeedSequence([seed, Purpose.ORDER, number])
  dataset = grain.MapDataset.range(size)
  return dataset.shuffle(seed=int(hashed.generate_state(1)[0])).repeat()


def _find(position: int, weights: Sequence[int]) -> tuple[int, int]:
  """The source of a position, and how many of its examples came before.

  Takes the sources off one by one: of `position` examples, those that are
  not of the first source are again a sequence of the same kind. Whole
  numbers only, since Grain's own mixture rounds the weights to per cents.
  """
  remaining = sum(weights)
  for source, weight in enumerate(weights[:-1]):
    others = remaining - weight
    before, after = (p * others // remaining for p in (position, position + 1))
    if before == after:
      return source, position - before
    position, remaining = before, others
  return len(weights) - 1, position
