r"""Curations on Ray and here, with kills: the same bytes each time?

Run:    python -m tests.data_pipelines.curation.kills --directory DIR \
          [--rounds 1] [--only ray-node-scoring ...]
Needs:  the extra curation, `pip install 'ray[client]<2.60'`, half an hour

Three nodes of Ray on this machine. A kill is SIGKILL: of a process that works
on units, of the command (which is then given again), or of a node that has
such a process. It comes when the first file of a step is there: of scores, or
of the groups of near-duplicates.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from tests.data_pipelines.curation import made

ROOT = pathlib.Path(__file__).parents[3]
STEPS = {
  "scoring": "scores/*.parquet",
  "grouping": "tables/near-*/pairs-*.npy",
}
_TIMEOUT = 600
_NODES = 3


@contextlib.contextmanager
def cluster(num_nodes=_NODES):
  """Yields a local cluster; what it runs sees `MADE_PIDS` of now."""
  # Ray looks at the memory of the whole machine, which others use, too.
  os.environ["RAY_memory_usage_threshold"] = "0.99"
  os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
  os.environ["PYTHONPATH"] = str(ROOT)
  from ray.cluster_utils import Cluster

  small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
  made_of = Cluster(
    initialize_head=True,
    head_node_args={**small, "include_dashboard": False},
  )
  try:
    for _ in range(num_nodes - 1):
      made_of.add_node(**small)
    yield made_of
  finally:
    made_of.shutdown()


def start(pool, output, runner, workers, address=""):
  """The command in a process of its own."""
  env = {**os.environ, "PYTHONPATH": str(ROOT), "MADE_SECONDS": "0.4"}
  if address:
    env["RAY_ADDRESS"] = address
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "tests.data_pipelines.curation.made"),
      *map(str, (pool, output, "Slow", workers, runner)),
    ],
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  _, err = process.communicate(timeout=_TIMEOUT)
  if process.returncode:
    raise AssertionError(err)
  return err


def wait_for(output, step, process):
  """Waits for the first file of a step."""
  end = time.monotonic() + _TIMEOUT
  while not list(output.glob(STEPS[step])):
    if process.poll() is not None or time.monotonic() > end:
      raise AssertionError(f"no {STEPS[step]}: {process.communicate()[1]}")
    time.sleep(0.005)


def find_workers(process, of_ray):
  """Processes that units are mapped over."""
  if of_ray:
    found = [one for one in psutil.process_iter() if _says(one, "ray::")]
  else:
    found = process.children(recursive=True)
  below = {child for one in found for child in _children(one) if _works(child)}
  return sorted(below, key=lambda one: one.pid)


def _children(process):
  try:
    return process.children(recursive=True)
  except psutil.Error:
    return []


def _says(process, text):
  try:
    return any(text in one for one in process.cmdline())
  except psutil.Error:
    return False


def _works(process):
  return _says(process, "daft") and not _says(process, "ray::")
