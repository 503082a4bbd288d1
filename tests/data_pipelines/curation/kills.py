r"""Curations on Ray and here, with kills: the same bytes each time?

Run:    python -m tests.data_pipelines.curation.kills --directory DIR \
          [--rounds 1] [--only "ray-3 node scoring" ...]
Needs:  the extra curation, `pip install 'ray<2.60'`, half an hour

Three nodes of Ray on this machine. A kill is
SIGKILL: of a process that works on units, of the command (which is then given
again), or of a node that has such a process. It comes when the first file of a
step is there: of scores, or of the groups of near-duplicates.
"""

import argparse
import contextlib
import itertools
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
# What appears when a step has begun.
STEPS = {
  "scoring": "scores/*.parquet",
  "grouping": "tables/near-*/pairs-*.npy",
}
KILLS = ("worker", "driver", "node")
NODE = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
SETTINGS = {
  "PYTHONPATH": str(ROOT),
  # Ray looks at the memory of the whole machine, which others use, too.
  "RAY_memory_usage_threshold": "0.99",
  "RAY_USAGE_STATS_ENABLED": "0",
}
_TIMEOUT = 600


@contextlib.contextmanager
def cluster(num_nodes=3):
  """Yields a local cluster; its processes see the environment of now.

  Sets what is in `SETTINGS`.
  """
  os.environ.update(SETTINGS)
  from ray.cluster_utils import Cluster

  nodes = Cluster(
    initialize_head=True,
    head_node_args={
      **NODE,
      "include_dashboard": False,
    },
  )
  try:
    for _ in range(num_nodes - 1):
      nodes.add_node(**NODE)
    yield nodes
  finally:
    nodes.shutdown()


def start(pool, output, runner, workers, scorer="Slow"):
  """The command in a process of its own."""
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "tests.data_pipelines.curation.made"),
      *map(str, (pool, output, scorer, workers, runner)),
    ],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process):
  """Waits for the end; returns what was printed."""
  out, _ = process.communicate(timeout=_TIMEOUT)
  if process.returncode:
    raise AssertionError(out)
  return out


def wait_for(condition, process):
  """Waits until something is there, while a process lives."""
  end = time.monotonic() + _TIMEOUT
  while not (found := condition()):
    if process.poll() is not None or time.monotonic() > end:
      raise AssertionError(f"too late: {process.communicate()[0]}")
    time.sleep(0.005)
  return found


def find_workers(folder, before):
  """Processes that have begun with units of a step since, and live."""
  names = set(os.listdir(folder)) - before
  return [int(name) for name in sorted(names) if psutil.pid_exists(int(name))]


def find_nodes(nodes):
  """Process of each node but the head -> the node."""
  return {
    node.all_processes["raylet"][0].process.pid: node
    for node in nodes.worker_nodes
  }


def kill(what, process, workers, nodes):
  """Sends SIGKILL; returns what it hit.

  Args:
    what: of `KILLS`.
    process: of the command.
    workers: says which processes have units now.
    nodes: the cluster; a node that is hit is replaced.
  """
  if what == "driver":
    process.kill()
    process.communicate()
    return f"command {process.pid}"
  if what == "worker":
    while True:
      (worker, *_) = wait_for(workers, process)
      with contextlib.suppress(ProcessLookupError):  # Its unit is done.
        os.kill(worker, signal.SIGKILL)
        return f"process {worker}"

  def find():
    parents = []
    for worker in workers():
      with contextlib.suppress(psutil.NoSuchProcess):  # Its unit is done.
        parents.append(psutil.Process(worker).parents())
    above = {one.pid for some in parents for one in some}
    return sorted(above & set(find_nodes(nodes)))

  (raylet, *_) = wait_for(find, process)
  node = find_nodes(nodes)[raylet]
  os.kill(raylet, signal.SIGKILL)
  nodes.remove_node(node, allow_graceful=False)  # What is left of it.
  nodes.add_node(**NODE)
  return f"node {raylet}"


def run_case(case, pool, output, nodes):
  """Curates with or without a kill; returns seconds and what was hit."""
  runner, what, step = [*case.split(" "), "", ""][:3]
  name, workers = runner.split("-")
  began, hit = time.monotonic(), ""
  folder = os.environ["MADE_PIDS" if step == "scoring" else "MADE_GROUPS"]
  before = set(os.listdir(folder))
  process = start(pool, output, name, workers)
  if what:
    wait_for(lambda: list(output.glob(STEPS[step])), process)
    hit = kill(what, process, lambda: find_workers(folder, before), nodes)
    if what == "driver":
      process = start(pool, output, name, workers)
  finish(process)
  return round(time.monotonic() - began, 1), hit


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--directory", required=True)
  parser.add_argument("--rounds", type=int, default=1)
  parser.add_argument("--only", nargs="*", help="cases, as they are printed")
  given = parser.parse_args()
  root = pathlib.Path(tempfile.mkdtemp(dir=given.directory))
  for name in ("pids", "groups"):
    (root / name).mkdir()
    os.environ[f"MADE_{name.upper()}"] = str(root / name)
  made.write_pool(root / "pool", range(16))
  made.curate(
    [root / "pool"], root / "expected", made.make_settings(made.Slow())
  )
  expected = made.contents(root / "expected")
  cases = ["native-1", "native-2", "ray-3"]
  cases += [
    f"{runner} {what} {step}"
    for runner, what, step in itertools.product(
      ("native-2", "ray-3"), KILLS, STEPS
    )
    if (runner, what) != ("native-2", "node")
  ]
  results = []
  with cluster() as nodes:
    os.environ["RAY_ADDRESS"] = nodes.address
    for number, case in itertools.product(range(given.rounds), cases):
      if given.only and case not in given.only:
        continue
      output = root / f"{case.replace(' ', '-')}-{number}"
      seconds, hit = run_case(case, root / "pool", output, nodes)
      is_equal = made.contents(output) == expected
      results.append({"case": case, "equal": is_equal, "seconds": seconds})
      print(
        f"{case:24} {'equal' if is_equal else 'DIFFERS'} {seconds} s  {hit}"
      )
      sys.stdout.flush()
  print("RESULT " + json.dumps(results))
  if not all(result["equal"] for result in results):
    sys.exit("bytes differ")


if __name__ == "__main__":
  main()
