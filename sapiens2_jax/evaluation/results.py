"""What was measured, on disk."""

import json
import math
import os
from collections.abc import Callable

from data_pipelines.common import locks
from data_pipelines.common.files import write_file
from sapiens2_jax.runtime import distributed


def measure(output: str, work: Callable[[], dict]) -> None:
  """Does the work of a command; process 0 writes DIR/results.json and locks it.

  Args:
    output: DIR.
    work: returns what was found, in every process.
  """
  if distributed.is_writer():
    with locks.held(output) as lock:
      found = work()
      lock.check()
      print(f"results    {write_results(output, found)}")
  else:
    work()
  distributed.finish()


def write_results(output: str, found: dict) -> str:
  """Writes DIR/results.json, whole or not at all; what is NaN is null."""

  def known(value):
    if isinstance(value, dict):
      return {name: known(item) for name, item in value.items()}
    is_nan = isinstance(value, float) and not math.isfinite(value)
    return None if is_nan else value

  path = os.path.join(output, "results.json")
  write_file(path, json.dumps(known(found), indent=2).encode())
  return path
