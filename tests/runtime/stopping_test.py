"""SIGTERM to one of two processes, over loopback, while one waits for ever."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
CHILD = """
import sys, time, types
import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from sapiens2_jax.runtime import distributed

address, index, phase, path = sys.argv[1:]
distributed.start(ConfigDict(dict(
  coordinator_address=address, num_processes=2, process_id=int(index),
  start_timeout=60.0, heartbeat_timeout=20.0, stop_timeout=2.0)))
doing = types.SimpleNamespace(phase=phase, step=8, has_stepped=False)
distributed.follow(doing, f"{path}/stacks-{index}.txt")
assert not distributed.should_stop(8)
multihost_utils.sync_global_devices("all are there")
open(f"{path}/ready{index}", "w").close()
if index == "1":
  time.sleep(600)  # Never comes to where the other one waits for it.
multihost_utils.sync_global_devices("one is not")
"""


def start(folder: pathlib.Path, phase: str) -> list[subprocess.Popen]:
  """Two processes, when process 0 waits for process 1."""
  with socket.socket() as opened:
    opened.bind(("localhost", 0))
    address = f"localhost:{opened.getsockname()[1]}"
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", CHILD, address, index, phase, str(folder)],
      cwd=ROOT,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in "01"
  ]
  deadline = time.monotonic() + 120
  while len([*folder.glob("ready*")]) < 2:
    assert all(p.poll() is None for p in processes)
    assert time.monotonic() < deadline
    time.sleep(0.05)
  return processes


@pytest.mark.parametrize(
  ("phase", "victim", "message"),
  [
    ("save", 0, "step 9: not at its end 2 s after SIGTERM"),
    ("compile", 1, "SIGTERM in phase 'compile', before there was anything"),
  ],
)
def test_both_end_in_time_and_say_where_one_waited(
  tmp_path, phase, victim, message
):
  processes = start(tmp_path, phase)
  try:
    processes[victim].send_signal(signal.SIGTERM)
    texts = [process.communicate(timeout=60)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [143, 143], texts
  name = f"process {victim} ({os.uname().nodename})"
  assert f"{name}: {message}" in texts[victim]
  assert f"{name} failed: {message}" in texts[1 - victim]
  stacks = tmp_path / "stacks-0.txt"
  assert stacks.exists() == (phase == "save")
  assert phase != "save" or "in sync_global_devices" in stacks.read_text()
