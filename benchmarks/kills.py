"""SIGKILLs a training at random points: does it end as if nothing had been?

Run:    python -m benchmarks.kills [--kills 200] [--seed 0] [--directory DIR] \
          [--bucket]
Needs:  CPU; 17 seconds a kill on two busy cores

A toy run is killed again and again, and started with the same command each
time: while it starts, between two steps, or while a checkpoint is being
written. When a run comes to its end, its last state and its metrics are
compared with those of a run that nobody disturbed, bit for bit, and the next
one begins. What is drawn for each kill follows from the seed; when that point
comes depends on the machine. The first difference ends all, with code 1.

With `--bucket` the killed runs live on gs://, served over HTTP here, which
answers one request of a hundred with 503; the other run stays on a disk.
"""

import argparse
import collections
import contextlib
import json
import pathlib
import tempfile
import time

import numpy as np

from data_pipelines.common.progress import Progress
from tests.data_pipelines.fake_bucket import FakeBucket
from tests.end_to_end import commands, resuming

NUM_STEPS = 30  # As in tests/end_to_end/resume_test.py: compiled once.
OPTIONS = (
  f"optim.num_steps={NUM_STEPS}",
  "checkpoint.every=3",
  "checkpoint.keep_last=2",
)
KINDS = ("start", "step", "save")
SHARES = (0.1, 0.4, 0.5)  # Of the kinds.
MOST_STEPS = 10  # Between a start and a kill.
START_SECONDS = 10.0  # In which a kill of that kind comes.
FAILURES = 0.01  # Of the requests to the bucket.


class Point:
  """When to kill a process: called until that is reached.

  Attributes:
    kind: one of `KINDS`.
  """

  def __init__(
    self,
    rng: np.random.Generator,
    workdir: pathlib.Path,
    log: pathlib.Path,
  ):
    """Draws it."""
    self.kind = str(rng.choice(KINDS, p=SHARES))
    self._steps = int(rng.integers(1, MOST_STEPS + 1))
    self._pause = rng.uniform(0, 0.1)
    if self.kind == "start":
      self._steps, self._pause = 0, rng.uniform(0, START_SECONDS)
    self._workdir, self._log, self._reached = workdir, log, None

  def __call__(self) -> bool:
    if self._reached is None and self._is_there():
      self._reached = time.monotonic()
    now = time.monotonic()
    return self._reached is not None and now >= self._reached + self._pause

  def _is_there(self) -> bool:
    if self.kind == "save" and not resuming.unfinished(self._workdir):
      return False
    return self._log.read_bytes().count(b"\nstep ") >= self._steps


@contextlib.contextmanager
def place(root: pathlib.Path, is_bucket: bool):
  """Where runs live: what workdirs begin with, variables, and a count of 503s.

  A bucket's objects are files below `root`, named as they are there.
  """
  if not is_bucket:
    yield f"{root}", {}, int
    return
  with FakeBucket(root) as bucket:
    bucket.fail_often(FAILURES)
    yield "gs://runs", bucket.environment(), lambda: bucket.num_failed


def kill_often(given: argparse.Namespace, root: pathlib.Path) -> dict:
  """Kills runs, and compares each at its end; returns the result.

  Raises:
    AssertionError: a run ended otherwise.
  """
  env = commands.environment()
  env.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "programs"))
  env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.01"
  data = commands.write_images(root / "images")

  def command(workdir: str | pathlib.Path) -> list[str]:
    return commands.tiny_command(workdir, data, *OPTIONS)

  whole = root / "undisturbed"
  done = commands.run(command(whole), env)
  assert done.returncode == 0, done.stdout + done.stderr
  rng = np.random.default_rng(given.seed)
  kinds, kills, inside, runs = collections.Counter(), 0, 0, 0
  with (
    Progress("kills", given.kills, "kills") as progress,
    place(root / "killed", given.bucket) as (prefix, variables, num_failed),
  ):
    env |= variables
    while kills < given.kills:
      name = f"run{runs}"
      workdir, log = root / "killed" / name, root / f"{name}.log"
      run = command(f"{prefix}/{name}")
      while kills < given.kills:
        log.write_text("")
        point = Point(rng, workdir, log)
        if not resuming.kill_when(run, env, point, log):
          break  # It came to its end before.
        kills += 1
        kinds[point.kind] += 1
        inside += bool(resuming.unfinished(workdir))
        progress.advance()
      done = commands.run(run, env)
      assert done.returncode == 0, done.stdout + done.stderr
      resuming.assert_same_end(workdir, whole, NUM_STEPS)
      runs += 1
    answers = {"answers_of_503": num_failed()} if given.bucket else {}
  return {
    "kills": kills,
    "seed": given.seed,
    "kinds": dict(sorted(kinds.items())),
    "inside_saves": inside,
    "runs": runs,
    "equal": runs,
    **answers,
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--directory", help="new; kept")
  parser.add_argument("--bucket", action="store_true", help="runs on gs://")
  given = parser.parse_args()
  if given.directory:
    root = pathlib.Path(given.directory).absolute()
    root.mkdir(parents=True)
    result = kill_often(given, root)
  else:
    with tempfile.TemporaryDirectory() as directory:
      result = kill_often(given, pathlib.Path(directory))
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
