"""Spreads jobs over processes, with few jobs in memory at a time."""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import process
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_AHEAD = 4  # Jobs handed out for each process, so that none waits for another.


class WorkerPool:
  """Processes that start when there is work, and end with this one.

  They are spawned, so functions and jobs must be picklable, and the main
  module must be importable without starting anything. Whatever ends the
  `with` by an exception ends them at once; so does the death of this process.
  """

  def __init__(self, num_workers: int):
    """Starts nothing yet; 0 is to do the work in this process.

    Raises:
      ValueError: a negative number.
    """
    if num_workers < 0:
      raise ValueError(f"workers={num_workers} must be at least 0.")
    self._num_workers = num_workers
    self._executor = None

  def __enter__(self) -> WorkerPool:
    self._others = set(multiprocessing.active_children())
    if self._num_workers:
      self._executor = concurrent.futures.ProcessPoolExecutor(
        self._num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_follow_parent,
      )
    return self

  def __exit__(self, kind, *unused) -> None:
    if self._executor is None:
      return
    if kind is not None:
      for child in set(multiprocessing.active_children()) - self._others:
        child.terminate()
    self._executor.shutdown(cancel_futures=True)

  def map(
    self, function: Callable[[Job], Result], jobs: Iterable[Job]
  ) -> Iterator[Result]:
    """Calls a function for each job, here or there.

    Jobs are taken only a few ahead of what is done.

    Yields:
      The results, in the order of the jobs.

    Raises:
      ChildProcessError: a process ended in the middle of its work.
      Exception: what the function raised.
    """
    if self._executor is None:
      yield from map(function, jobs)
      return
    waiting = collections.deque()
    try:
      for job in jobs:
        waiting.append(self._executor.submit(function, job))
        if len(waiting) >= _AHEAD * self._num_workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    except process.BrokenProcessPool as error:
      raise ChildProcessError(
        "a worker process ended in the middle of its work"
      ) from error


def end_with_parent() -> None:
  """Ends this child process a moment after its parent, even a killed one."""
  parent = multiprocessing.parent_process()

  def wait() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


def _follow_parent() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's.
  end_with_parent()
