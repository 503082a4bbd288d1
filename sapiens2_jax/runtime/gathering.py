"""What each process has is brought to all of them, whatever it is.

Measuring many images is work for all processes, each on its share; sums, rows
and errors that belong to the whole set are brought together here.
"""

import contextlib
import dataclasses
import pickle
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed as jax_distributed
from jax.experimental import multihost_utils

_SMALLEST = 2**10  # Bytes of a message; others are powers of two of it.
_LARGEST = 2**24  # Bytes that a device holds of all messages at once.
_BARRIER, _FOREVER_MS = "sapiens2/gather", 24 * 3600 * 1000
_is_alone = False


def gather(value: Any) -> list[Any]:
  """The values of all processes, by their numbers.

  All processes must call this. It waits for the slowest one, however long that
  takes: collectives of devices would give up.

  Args:
    value: anything that can be pickled; nothing that is on a device.
  """
  count = by_process().count
  if count == 1:
    return [value]
  jax_distributed.global_state.client.wait_at_barrier(_BARRIER, _FOREVER_MS)
  text = pickle.dumps(value)
  data = len(text).to_bytes(8, "little") + text
  longest, ends = 1, [8] * count
  found = [bytearray() for _ in range(count)]
  start = 0
  while start < longest:
    size = _SMALLEST
    while start and size < longest - start and 2 * size * count <= _LARGEST:
      size *= 2
    message = np.zeros(size, np.uint8)
    part = np.frombuffer(data[start : start + size], np.uint8)
    message[: len(part)] = part
    rows = multihost_utils.process_allgather(message)
    for own, row in zip(found, rows):
      own += row.tobytes()
    if not start:
      ends = [8 + int.from_bytes(own[:8], "little") for own in found]
      longest = max(ends)
    start += size
  return [pickle.loads(own[8:end]) for own, end in zip(found, ends)]


def check_same(value: Any, given: str, what: str) -> None:
  """All processes must have read the same: each takes its share of it.

  All processes must call this.

  Args:
    value: what tells it apart; can be pickled.
    given: the flag or field that says where it was read, for the message.
    what: it is, for the message.

  Raises:
    ValueError: a process has another one than process 0.
  """
  first, *others = gather(value)
  for process, other in enumerate(others, 1):
    if other != first:
      raise ValueError(
        f"{given}: process {process} read other {what} there than process 0; "
        "expected the same on all hosts."
      )


@dataclasses.dataclass(frozen=True)
class Part:
  """Which share of a set is this process's.

  Shares are consecutive: one after another they are the set in its order.

  Attributes:
    index: of the share, 0 to count - 1.
    count: of the shares; several processes may have the same one.
    speakers: the process of each share whose results count.
  """

  index: int = 0
  count: int = 1
  speakers: tuple[int, ...] = (0,)

  def share(self, length: int) -> range:
    """The numbers of `length` things that are this part's."""
    bounds = (length * i // self.count for i in (self.index, self.index + 1))
    return range(*bounds)

  def gather(self, value: Any) -> list[Any]:
    """The values of all parts, in their order; see `gather`."""
    if self.count == 1:
      return [value]
    found = gather(value)
    return [found[process] for process in self.speakers]


ALONE = Part()


def by_process() -> Part:
  """A share for each process."""
  if _is_alone:
    return ALONE
  count = jax.process_count()
  return Part(jax.process_index(), count, tuple(range(count)))


@contextlib.contextmanager
def alone() -> Iterator[None]:
  """Within, this process does all by itself: nobody else is there to gather."""
  global _is_alone
  _is_alone = True
  try:
    yield
  finally:
    _is_alone = False
