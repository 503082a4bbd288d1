"""Runs the trainer as a user would: a subprocess on a folder of images."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests import tiny

ROOT = pathlib.Path(__file__).parents[2]


def write_images(folder: pathlib.Path, count: int = 6) -> pathlib.Path:
  """Smooth random pictures of different shapes."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(count):
    small = rng.integers(0, 256, (5, 4, 3), np.uint8)
    size = (90 + 10 * i, 120 - 5 * i)
    Image.fromarray(small).resize(size, Image.BICUBIC).save(folder / f"{i}.png")
  return folder


def environment(cache: pathlib.Path) -> dict[str, str]:
  """One device, and programs compiled once for all runs of a test."""
  flags = os.environ.get("XLA_FLAGS", "").split()
  flags = [f for f in flags if "device_count" not in f]
  return {
    **os.environ,
    "XLA_FLAGS": " ".join(flags),
    "PYTHONPATH": str(ROOT),
    "JAX_COMPILATION_CACHE_DIR": str(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


def train_command(workdir, data, *overrides: str) -> list[str]:
  options = [*tiny.SIZE, "model.scan=false", f"data.path={data}", *overrides]
  return [
    *(sys.executable, "-m", "sapiens2_jax.train"),
    *("--config", "experiments/pretrain.py:size=toy"),
    *("--workdir", str(workdir)),
    *(f"--config.{option}" for option in options),
  ]


def run(command: list[str], env: dict) -> subprocess.CompletedProcess:
  return subprocess.run(
    command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
  )


def run_until(
  command: list[str], env: dict, ready: Callable[[], bool], signal: int
) -> subprocess.Popen:
  """Starts, sends `signal` as soon as `ready()`, waits for the end."""
  process = subprocess.Popen(
    command,
    cwd=ROOT,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  deadline = time.monotonic() + 300
  while not ready():
    if process.poll() is not None or time.monotonic() > deadline:
      process.kill()
      raise AssertionError(f"ended too early:\n{process.communicate()[0]}")
    time.sleep(0.0005)
  process.send_signal(signal)
  process.log = process.communicate(timeout=120)[0]
  return process
