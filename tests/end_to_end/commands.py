"""Runs the trainer as a user would: a subprocess on a folder of images."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from tests import forking, tiny

ROOT = forking.ROOT


def write_images(folder: pathlib.Path, count: int = 6) -> pathlib.Path:
  """Smooth random pictures of different shapes."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(count):
    small = rng.integers(0, 256, (5, 4, 3), np.uint8)
    size = (90 + 10 * i, 120 - 5 * i)
    Image.fromarray(small).resize(size, Image.BICUBIC).save(folder / f"{i}.png")
  return folder


def environment(num_devices: int = 1) -> dict[str, str]:
  """That of the suite with few devices."""
  flags = os.environ.get("XLA_FLAGS", "").split()
  flags = [f for f in flags if "device_count" not in f]
  flags.append(f"--xla_force_host_platform_device_count={num_devices}")
  return {
    **os.environ,
    "XLA_FLAGS": " ".join(flags),
    "PYTHONPATH": str(ROOT),
  }


def train_command(workdir, data, *overrides: str) -> list[str]:
  small = ("model.scan=false", "data.global_batch_size=8")
  options = [*tiny.SIZE, *small, f"data.path={data}", *overrides]
  return [
    *(sys.executable, "-m", "sapiens2_jax.train"),
    *("--config", "experiments/pretrain.py:size=toy"),
    *("--workdir", str(workdir)),
    *(f"--config.{option}" for option in options),
  ]


# The trainer with the tiny model of the tests, and its first derived save soon.
# On CPU each process has cache keys of its own, and JAX lets only process 0
# write: here each one may.
TINY_TRAINER = """
import runpy
from unittest import mock
from jax._src import compiler
import tests.tiny
from sapiens2_jax.runtime import save_schedule

save_schedule.FIRST_STEPS = 3
write = compiler._cache_write
def write_as_process_0(*args):
  with mock.patch.object(compiler.distributed.global_state, "process_id", 0):
    write(*args)
compiler._cache_write = write_as_process_0
runpy.run_module("sapiens2_jax.train", run_name="__main__")
"""


def tiny_command(workdir, data, *overrides: str) -> list[str]:
  command = train_command(workdir, data, "model.size=tiny", *overrides)
  return [command[0], "-c", TINY_TRAINER, *command[3:]]


def tiny_command_of(*arguments: str) -> list[str]:
  """A verb and its flags, with the tiny sizes and task of the tests."""
  program = (
    "import tests.tiny_task; from sapiens2_jax.__main__ import main; main()"
  )
  return [sys.executable, "-c", program, *arguments]


def start_two(
  command: list[str],
  logs: pathlib.Path,
  *second: str,
  **options,
) -> list[forking.Process | subprocess.Popen]:
  """The two processes of a job, with two devices each; see `start_many`."""
  return start_many(command, logs, 2, 2, *second, **options)


def start_many(
  command: list[str],
  logs: pathlib.Path,
  count: int,
  num_devices: int,
  *others: str,
  env: Mapping[str, str] | None = None,
  are_apart: bool = False,
) -> list[forking.Process | subprocess.Popen]:
  """The processes of a job.

  Args:
    command: of all.
    logs: their output goes to `logs`.0, `logs`.1, ...
    count: of the processes.
    num_devices: of each.
    *others: overrides for all but process 0; or their flags, with their --.
    env: more variables of all.
    are_apart: each has a directory of its own, `logs`.0.d and so on, for all
      that it writes without being told where.
  """
  with socket.socket() as opened:
    opened.bind(("localhost", 0))
    address = f"localhost:{opened.getsockname()[1]}"
  processes = []
  for index in range(count):
    variables = {
      "JAX_COORDINATOR_ADDRESS": address,
      "JAX_NUM_PROCESSES": str(count),
      "JAX_PROCESS_ID": str(index),
    }
    options = [
      option if option.startswith("--") else f"--config.{option}"
      for option in others[: len(others) * index]
    ]
    place = ROOT
    if are_apart:
      place = pathlib.Path(f"{logs}.{index}.d")
      place.mkdir()
      (place / "experiments").symlink_to(ROOT / "experiments")
      variables |= {"HOME": str(place), "TMPDIR": str(place)}
    variables = {**environment(num_devices), **(env or {}), **variables}
    with open(f"{logs}.{index}", "w") as log:
      processes.append(
        forking.start([*command, *options], variables, log, cwd=place)
      )
  return processes


def run(
  command: list[str], env: dict, cwd: os.PathLike = ROOT
) -> subprocess.CompletedProcess:
  return forking.run(command, env, cwd)


def run_until(
  command: list[str], env: dict, ready: Callable[[], bool], signal: int
) -> forking.Process | subprocess.Popen:
  """Starts, sends `signal` as soon as `ready()`, waits for the end.

  What it printed is in `log` of the result.
  """
  with tempfile.TemporaryFile() as output:
    process = forking.start(command, env, output)

    def read() -> str:
      output.seek(0)
      return output.read().decode()

    deadline = time.monotonic() + 300
    while not ready():
      if process.poll() is not None or time.monotonic() > deadline:
        process.kill()
        raise AssertionError(f"ended too early:\n{read()}")
      time.sleep(0.0005)
    process.send_signal(signal)
    process.wait(120)
    process.log = read()
  return process
