"""A process that is sent SIGTERM ends in time, whatever it waits for."""

import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CHILD = """
import ctypes, os, signal, sys, threading, time, types
from sapiens2_jax.runtime import exits
from sapiens2_jax.runtime.termination import Termination

def end(message):
  print(message, file=sys.stderr, flush=True)
  exits.leave(143)

def leaves_signals_to_a_native_thread():
  libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
  libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

def waits_in_native_code():
  threading.Event().wait()  # As in a compiler or a collective.

path, phase, how, is_chained = sys.argv[1:]
if is_chained == "yes":  # As JAX does.
  handle = ctypes.CFUNCTYPE(None, ctypes.c_int)(
    lambda _: os.write(1, b"chained\\n"))
  ctypes.CDLL(None).signal(int(signal.SIGTERM), handle)
if how == "native":
  leaves_signals_to_a_native_thread()
doing = types.SimpleNamespace(
  phase=phase, step=6, has_stepped=how == "waits, later")
told = Termination(1.0, end, is_chained=is_chained == "yes")
if phase:
  told.follow(doing, path)
print("ready", flush=True)
if how.startswith("waits"):
  waits_in_native_code()
while not told.is_requested:
  time.sleep(0.01)
if how == "compiles":
  doing.phase = "compile"
  waits_in_native_code()
os.write(1, b"saved\\n")  # Whole, whatever another thread writes.
"""


def run(path, phase: str, how: str, is_chained: bool = False):
  """Exit code, output and errors of a child that is sent SIGTERM."""
  words = [str(path), phase, how, "yes" if is_chained else "no"]
  child = subprocess.Popen(
    [sys.executable, "-c", CHILD, *words],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert child.stdout.readline() == "ready\n"
  child.send_signal(signal.SIGTERM)
  try:
    out, err = child.communicate(timeout=60)
  finally:
    child.kill()
  return child.returncode, out, err


def test_who_saves_in_time_ends_as_it_wants(tmp_path):
  code, out, err = run(tmp_path / "stacks", "step", "saves")
  assert (code, out, err) == (0, "saved\n", "")


def test_the_handler_before_hears_of_it_too(tmp_path):
  code, out, _ = run(tmp_path / "stacks", "step", "saves", is_chained=True)
  assert code == 0 and sorted(out.split()) == ["chained", "saved"]


def test_it_is_heard_in_a_thread_that_python_does_not_know(tmp_path):
  code, out, _ = run(tmp_path / "stacks", "step", "native")
  assert (code, out) == (0, "saved\n")


@pytest.mark.parametrize("phase", ["", "start", "compile"])
def test_who_has_nothing_to_save_ends_at_once(tmp_path, phase):
  code, _, err = run(tmp_path / "stacks", phase, "waits")
  assert code == 143
  assert err.startswith(f"SIGTERM in phase '{phase or 'start'}', before there")
  assert not (tmp_path / "stacks").exists()


def test_who_turns_to_compiling_after_it_ends_too(tmp_path):
  code, _, err = run(tmp_path / "stacks", "data", "compiles")
  assert code == 143 and err.startswith("SIGTERM in phase 'compile'")


def test_who_compiles_again_has_steps_to_save(tmp_path):
  code, _, err = run(tmp_path / "stacks", "compile", "waits, later")
  assert code == 143 and "step 7: not at its end 1 s after" in err


@pytest.mark.parametrize("phase", ["data", "step", "evaluate", "save"])
def test_who_waits_for_ever_ends_with_the_place_and_the_stacks(tmp_path, phase):
  path = tmp_path / "stacks"
  code, _, err = run(path, phase, "waits")
  assert code == 143
  message = err.splitlines()[-1]
  assert message.startswith(
    "step 7: not at its end 1 s after SIGTERM (distributed.stop_timeout), in "
    f"phase '{phase}'; the stacks of all threads are in {path}."
  )
  assert "in waits_in_native_code" in path.read_text()
  assert "in waits_in_native_code" in err


def test_a_disk_that_is_away_holds_nobody_up(tmp_path):
  # A file where a directory should be: the stacks are in the log only.
  (tmp_path / "file").write_text("")
  code, _, err = run(tmp_path / "file" / "stacks", "save", "waits")
  assert code == 143 and "in waits_in_native_code" in err
