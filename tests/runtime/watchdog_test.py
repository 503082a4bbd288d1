"""A process that hangs ends, whatever holds it up."""

import pathlib
import subprocess
import sys
import threading

from data_pipelines.common import storage
from sapiens2_jax.runtime import exits

ROOT = pathlib.Path(__file__).parents[2]
CHILD = """
import ctypes, os, sys, time
from sapiens2_jax.runtime.goodput import Timeline
from sapiens2_jax.runtime.watchdog import Watchdog

def end(message):
  print(message, file=sys.stderr, flush=True)
  os._exit(1)

def some_step_that_never_returns():
  if sys.argv[2] == "sleeps":
    time.sleep(600)
  if sys.argv[2] == "holds":
    ctypes.PyDLL(None).sleep(600)  # Native code that keeps the interpreter.

line = Timeline()
watchdog = Watchdog(
  line, sys.argv[1], timeout=1.0, start_timeout=3.0, end=end)
line.enter("compile", 41)
time.sleep(1.5)  # Longer than a step may take.
for _ in range(20):
  line.enter("step", 41)
  time.sleep(0.1)  # Moves: longer in all than one step may take.
some_step_that_never_returns()
watchdog.stop()
time.sleep(2.0)  # Longer than anything may take; but the watch is over.
"""


def run(path: pathlib.Path, how: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-c", CHILD, str(path), how],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )


def test_a_run_that_moves_is_left_alone(tmp_path):
  done = run(tmp_path / "stacks.txt", "moves")
  assert done.returncode == 0, done.stderr
  assert not (tmp_path / "stacks.txt").exists()


def test_a_hang_ends_with_the_stacks_and_what_it_did(tmp_path):
  done = run(tmp_path / "stacks.txt", "sleeps")
  assert done.returncode == 1
  message = done.stderr.splitlines()[-1]
  assert message.startswith(
    "step 42: nothing moved for 1 s (watchdog.timeout=1)"
  )
  assert "in phase 'step'" in message
  for text in (done.stderr, (tmp_path / "stacks.txt").read_text()):
    assert "in some_step_that_never_returns" in text


def test_a_hang_that_keeps_the_interpreter_ends_too(tmp_path):
  done = run(tmp_path / "stacks.txt", "holds")
  assert done.returncode == 1
  assert "Timeout" in done.stderr
  assert "in some_step_that_never_returns" in done.stderr


def test_stacks_go_to_a_bucket_which_may_be_what_hangs(monkeypatch):
  path, hanging = "memory://stacks/stacks-0.txt", threading.Event()
  assert exits.write_stacks(path) == f"in {path}"
  assert b"test_stacks_go_to_a_bucket" in storage.read_bytes(path)
  storage.remove_tree("memory://stacks")
  monkeypatch.setattr(exits, "_SECONDS", 0.1)
  monkeypatch.setattr(storage, "upload", lambda *_: hanging.wait(60))
  assert exits.write_stacks(path) == "above"
  hanging.set()
