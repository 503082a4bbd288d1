"""Curations on the engine: the same bytes, however many work and die."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.curation import child, engine
from tests.data_pipelines.curation import made

_TIMEOUT = 400  # Seconds until a command counts as hanging.
_ROOT = pathlib.Path(__file__).parents[3]
# Writes down every connection that Python code opens to another machine.
_WATCH = """
import os, sys

def watch(event, arguments):
  if event in ("socket.connect", "socket.getaddrinfo"):
    address = arguments[1 if event == "socket.connect" else 0]
    if isinstance(address, str) and address.startswith(("/", "\\0")):
      return
    with open(os.environ["MADE_CONNECTIONS"], "a") as file:
      file.write(f"{event} {address!r}\\n")

sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
  folder = tmp_path_factory.mktemp("engine") / "pool"
  made.write_pool(folder, range(16))
  return folder


@pytest.fixture(scope="module")
def expected(pool):
  made.curate([pool], pool.parent / "expected", made.make_settings(made.Slow()))
  return made.contents(pool.parent / "expected")


@pytest.fixture(autouse=True, scope="module")
def pids(tmp_path_factory):
  """Where slow scorers say which process they are."""
  folder = tmp_path_factory.mktemp("pids")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("MADE_PIDS", str(folder))
    yield folder


def start(pool, output, scorer="Slow", workers=2, runner="native", **env):
  path = os.pathsep.join(filter(None, [env.pop("first", ""), str(_ROOT)]))
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "tests.data_pipelines.curation.made"),
      *map(str, (pool, output, scorer, workers, runner)),
    ],
    env={**os.environ, "PYTHONPATH": path, **env},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  out, err = process.communicate(timeout=_TIMEOUT)
  assert process.returncode == 0, err
  return out, err


def wait_for(condition):
  end = time.monotonic() + _TIMEOUT
  while not (found := condition()):
    assert time.monotonic() < end
    time.sleep(0.01)
  return found


def is_running(pid):
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


def test_runners_and_workers_that_mean_nothing():
  with pytest.raises(ValueError, match="runner='dask' must be native, ray"):
    engine.Engine("dask")
  with pytest.raises(ValueError, match="workers=0 must be at least 1"):
    engine.Engine("native", 0)


def _count(number):
  yield from range(number)


def _fail():
  yield 1
  raise ValueError("no")


def _die():
  yield 1
  os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_hands_on_values_errors_and_deaths():
  assert child.call(_count, 3) == 2
  with pytest.raises(ValueError, match="^no$"):
    child.call(_fail)
  found = []
  with pytest.raises(child.Died, match="died of SIGKILL"):
    for value in child.stream(_die):
      found.append(value)
  assert found == [1]


@pytest.mark.slow
def test_one_and_two_workers_make_the_same_and_ask_nobody(
  pool, expected, tmp_path
):
  (tmp_path / "sitecustomize.py").write_text(_WATCH)
  connections = tmp_path / "connections"
  watched = {"first": str(tmp_path), "MADE_CONNECTIONS": str(connections)}
  for workers in (1, 2):
    output = tmp_path / f"of_{workers}"
    finish(start(pool, output, workers=workers, **watched))
    assert made.contents(output) == expected
  assert not connections.exists(), connections.read_text()


@pytest.mark.slow
def test_a_killed_worker_costs_time_alone(pool, expected, pids, tmp_path):
  before = set(pids.iterdir())
  process = start(pool, tmp_path / "out")
  (worker, *_) = wait_for(lambda: set(pids.iterdir()) - before)
  os.kill(int(worker.name), signal.SIGKILL)
  _, err = finish(process)
  assert "starting again" in err
  assert made.contents(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.parametrize(
  "stage",
  [
    "scores/*.parquet",
    "tables/near-*/sorted-*.npy",
    "packing-*/selection.parquet",
  ],
)
def test_after_a_kill_of_the_driver_the_same_command_continues(
  pool, expected, pids, tmp_path, stage
):
  output = tmp_path / "out"
  process = start(pool, output)
  wait_for(lambda: list(output.glob(stage)))
  process.kill()
  process.communicate()
  done = {p: p.stat().st_mtime_ns for p in output.glob("scores/*.parquet")}
  workers = {int(path.name) for path in pids.iterdir()} - {os.getpid()}
  wait_for(lambda: not any(map(is_running, workers)))  # None is left behind.
  finish(start(pool, output))
  assert made.contents(output) == expected
  assert (
    done
    and done.items()
    <= {
      p: p.stat().st_mtime_ns for p in output.glob("scores/*.parquet")
    }.items()
  )


@pytest.mark.slow
def test_a_poisoned_image_is_listed_and_the_run_ends(pool, tmp_path):
  output = tmp_path / "out"
  poisoned = tmp_path / "pool"
  made.write_pool(poisoned, range(3))
  made.picture(9, *made.POISON).save(poisoned / "bad.png")
  _, err = finish(start(poisoned, output, "Dies"))
  assert err.count("starting again") == 2
  rejected = (output / "corpus" / "rejected.jsonl").read_text()
  assert '"name": "bad.png", "reason": "quarantined"' in rejected
  made.write_pool(tmp_path / "clean", range(3))
  settings = made.make_settings(made.Dies())
  made.curate([tmp_path / "clean"], tmp_path / "other", settings)
  shard = "shard-00000-of-00001.array_record"
  found = made.contents(output)[shard]
  assert found == made.contents(tmp_path / "other")[shard]
