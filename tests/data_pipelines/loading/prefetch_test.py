import threading
import time

import pytest

from data_pipelines.loading import prefetch


class Source:
  """An iterator that notes what is done with it."""

  def __init__(self, items):
    self._items = iter(items)
    self.num_read = 0
    self.is_closed = False

  def __next__(self):
    item = next(self._items)
    self.num_read += 1
    if isinstance(item, Exception):
      raise item
    return item

  def close(self):
    self.is_closed = True


def _prefetch(items, depth=2, timeout=5.0):
  source = Source(items)
  made = prefetch.Prefetcher(
    source, lambda item: item * 10, depth=depth, timeout=timeout
  )
  return source, made


def test_items_come_prepared_and_in_order():
  source, made = _prefetch(range(50))
  assert list(made) == [10 * number for number in range(50)]
  assert list(made) == []
  made.close()
  assert source.is_closed


def test_no_more_than_the_depth_is_made_ahead():
  source, made = _prefetch(range(50), depth=3)
  time.sleep(0.2)
  # Three are ready and one waits for room.
  assert source.num_read == 4
  assert next(made) == 0
  made.close()


def test_an_error_comes_in_the_place_of_its_item():
  _, made = _prefetch([1, ValueError("bad shard"), 3])
  assert next(made) == 10
  for _ in range(2):
    with pytest.raises(ValueError, match="bad shard"):
      next(made)


def test_a_loader_that_hangs_is_noticed():
  never = threading.Event()

  class Hanging(Source):
    def __next__(self):
      never.wait()

  made = prefetch.Prefetcher(Hanging([]), lambda x: x, depth=1, timeout=0.2)
  with pytest.raises(prefetch.LoaderStalled, match="no batch within 0.2 s"):
    next(made)
  never.set()
  made.close()


def test_poll_returns_between_two_looks_at_a_slow_loader():
  never = threading.Event()

  class Slow(Source):
    def __next__(self):
      never.wait(0.3)
      return super().__next__()

  made = prefetch.Prefetcher(Slow([7]), lambda x: x, depth=1, timeout=5.0)
  assert made.poll(0.05) is None
  assert made.poll(5.0) == 7
  with pytest.raises(StopIteration):
    made.poll(5.0)


def test_close_wakes_a_thread_that_waits_for_room():
  source, made = _prefetch(range(50), depth=1)
  started = time.monotonic()
  made.close()
  assert time.monotonic() - started < 2
  assert source.is_closed and source.num_read < 5
