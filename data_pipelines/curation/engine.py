"""Daft behind one function: it maps over units, here or on a cluster.

The engine sees names, never pixels or tables: what units read and make are
files, also where they group rows. It runs in a process of its own, see `child`;
on Ray the same program runs on a cluster.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Protocol

from data_pipelines.common import packages
from data_pipelines.curation import child

# Both would report what they are used for to their makers.
_SILENT = {
  "DAFT_ANALYTICS_ENABLED": "0",
  "DAFT_PROGRESS_BAR": "0",
  "DO_NOT_TRACK": "true",
  "RAY_USAGE_STATS_ENABLED": "0",
}
# Ray looks at the memory of the whole machine, which others use, too.
_LOCAL_RAY = {"RAY_memory_usage_threshold": "0.99"}
_RAY = "ray"
_DIED = "died: "  # Starts the answer for a unit that ended its process.


class Job(Protocol):
  """A picklable function of one unit, which writes what it makes."""

  def load(self) -> None:
    """Called once in each process, before the first unit."""

  def __call__(self, unit: object) -> None:
    """Does a unit; does nothing if that is done.

    Raises:
      OSError, ValueError: it cannot be done, with the reason.
    """


@dataclasses.dataclass(frozen=True)
class Engine:
  """Where work is done.

  Attributes:
    runner: "native" for this machine, "ray" for a local Ray, or
      "ray://HOST:PORT" for a cluster that reads and writes the same paths.
    num_workers: processes that units are mapped over.
  """

  runner: str = "native"
  num_workers: int = 1

  def __post_init__(self):
    known = self.runner in ("native", _RAY)
    if not known and not self.runner.startswith(f"{_RAY}://"):
      raise ValueError(
        f"runner={self.runner!r} must be native, ray or ray://HOST:PORT."
      )
    if self.num_workers < 1:
      raise ValueError(f"workers={self.num_workers} must be at least 1.")

  def map_units(self, job: Job, units: Sequence[object]) -> list[str]:
    """Does all units; returns what went wrong, one line a unit.

    Raises:
      child.Died: a worker or the engine died; what is done stays done.
    """
    if not units:
      return []
    return child.call(_map_units, self, job, list(units))


def _map_units(
  engine: Engine, job: Job, units: list[object]
) -> Iterator[list[str]]:
  daft = _start(engine)
  is_native = engine.runner == "native"
  worker = _make_worker(daft, engine.num_workers)(pickle.dumps(job), is_native)
  table = daft.from_pydict({"unit": [pickle.dumps(unit) for unit in units]})
  if is_native:
    table = table.into_batches(1)
  else:
    table = table.repartition(min(len(units), 4 * engine.num_workers))
  done = table.select(worker.do(daft.col("unit")).alias("problem"))
  try:
    problems = done.to_pydict()["problem"]
  except Exception as error:  # A worker's death looks different each time.
    raise child.Died(f"{type(error).__name__}: {error}") from error
  problems = sorted(filter(None, problems))
  for problem in problems:
    if problem.startswith(_DIED):
      raise child.Died(problem.removeprefix(_DIED))
  yield problems


def _start(engine: Engine):
  os.environ.update(_SILENT)
  if engine.runner == _RAY:
    os.environ.update(_LOCAL_RAY)
  daft = packages.require("daft", "curation")
  if engine.runner == "native":
    daft.set_runner_native()
  else:
    packages.require("ray", "curation")
    address = None if engine.runner == _RAY else engine.runner
    daft.set_runner_ray(address)
  return daft


def _make_worker(daft, num_workers: int):
  @daft.cls(max_concurrency=num_workers, use_process=True)
  class Worker:
    """Does units in a process of its own; on Ray each in one of its own.

    The native engine says when a worker died. Ray starts one again, and a unit
    that ends each of them was not seen to end, so it must not end a worker.
    """

    def __init__(self, job: bytes, is_native: bool):
      child.end_with_parent()
      self._pickled, self._job = job, None
      if is_native:
        self._job = pickle.loads(job)
        self._job.load()

    @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)
    def do(self, units):
      return [self._do(unit) for unit in units.to_pylist()]

    def _do(self, unit: bytes) -> str:
      try:
        if self._job:
          self._job(pickle.loads(unit))
        else:
          child.call(_do_unit, self._pickled, unit)
      except child.Died as error:
        return f"{_DIED}{error}"
      except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
      return ""

  return Worker


def _do_unit(job: bytes, unit: bytes) -> Iterator[None]:
  job = pickle.loads(job)
  job.load()
  job(pickle.loads(unit))
  yield
