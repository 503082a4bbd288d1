"""How the end of a killed run is compared with that of an undisturbed one."""

import os
import pathlib
import signal
import time
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from sapiens2_jax.training import checkpoints, writers
from tests import forking

_LAST = "commit_success.txt"
_LIMIT = 300.0  # Seconds in which a process does what is waited for.


def num_rows(workdir: pathlib.Path) -> int:
  path = workdir / writers.METRICS_FILE
  return path.read_bytes().count(b"\n") if path.exists() else 0


def unfinished(workdir: pathlib.Path) -> list[str]:
  """Names of checkpoints that are not whole yet, or are being removed."""
  root = workdir / "checkpoints"
  names = os.listdir(root) if root.exists() else []
  # In a bucket the name is the last one, and what stands there last differs.
  return [n for n in names if "tmp" in n or not (root / n / _LAST).exists()]


def read_tree(workdir: pathlib.Path, num_steps: int) -> dict:
  """The state after the last step."""
  step, path = checkpoints.latest(str(workdir))
  assert step == num_steps, f"{workdir}: ended at step {step}"
  tree = ocp.PyTreeCheckpointer().restore(path / "state")
  return jax.tree.map(np.asarray, tree)


def assert_same_end(
  workdir: pathlib.Path, whole: pathlib.Path, num_steps: int
) -> None:
  """State and metrics are equal, bit for bit, and no step is told twice."""
  found, expected = (read_tree(one, num_steps) for one in (workdir, whole))
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  name = writers.METRICS_FILE
  assert (workdir / name).read_bytes() == (whole / name).read_bytes()
  assert num_rows(workdir) == num_steps
  steps = [row["step"] for row in writers.read_speed(str(workdir))]
  assert steps == list(range(num_steps))


def kill_when(
  command: list[str],
  env: dict,
  ready: Callable[[], bool],
  log: pathlib.Path,
) -> bool:
  """Starts, and sends SIGKILL as soon as `ready()`.

  Returns:
    Whether it was killed, and did not end with code 0 before that.

  Raises:
    AssertionError: it ended with an error; says what it printed to `log`.
  """
  with open(log, "w") as file:
    process = forking.start(command, env, file)
  try:
    deadline = time.monotonic() + _LIMIT
    while not ready() and process.poll() is None:
      assert time.monotonic() < deadline, f"hangs:\n{log.read_text()}"
      time.sleep(0.0005)
  finally:
    process.kill()
    code = process.wait()
  assert code in (0, -signal.SIGKILL), f"code {code}:\n{log.read_text()}"
  return code != 0
