import itertools
import os
import signal
import time

import pytest

from data_pipelines.common import worker_pool

_NUM_WORKERS = 2


def _square(number):
  return number * number


def _fail(number):
  raise KeyError(number)


def _kill(number):
  os.kill(os.getpid(), signal.SIGKILL)


def _sleep_long(number):
  time.sleep(600)


@pytest.mark.parametrize("num_workers", [0, _NUM_WORKERS])
def test_results_come_in_order_and_jobs_are_taken_as_needed(num_workers):
  taken = []
  jobs = map(lambda job: taken.append(job) or job, itertools.count())
  with worker_pool.WorkerPool(num_workers) as workers:
    found = workers.map(_square, jobs)
    assert list(itertools.islice(found, 30)) == [n * n for n in range(30)]
  assert len(taken) <= 30 + 4 * num_workers


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_the_function_raises_comes_back(num_workers):
  with pytest.raises(KeyError, match="3"):
    with worker_pool.WorkerPool(num_workers) as workers:
      list(workers.map(_fail, [3]))


def test_a_killed_worker_is_an_error():
  with pytest.raises(ChildProcessError, match="ended in the middle"):
    with worker_pool.WorkerPool(1) as workers:
      list(workers.map(_kill, range(9)))


def test_an_exception_does_not_wait_for_the_work_under_way():
  def jobs():
    yield 1
    raise KeyboardInterrupt

  start = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    with worker_pool.WorkerPool(1) as workers:
      assert list(workers.map(_square, [3])) == [9]  # It is running.
      list(workers.map(_sleep_long, jobs()))
  assert time.monotonic() - start < 60


def test_a_negative_number_of_workers_is_an_error():
  with pytest.raises(ValueError, match="workers=-1 must be at least 0"):
    worker_pool.WorkerPool(-1)
