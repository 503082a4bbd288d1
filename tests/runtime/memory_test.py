"""One line and a code of its own when memory runs out."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from sapiens2_jax.runtime import memory
from sapiens2_jax.training import endings
from sapiens2_jax.validation import schema


def ask_for_too_much():
  return np.zeros(2**50)


def of_device(text: str) -> Exception:
  return jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {text}")


def test_memory_of_the_host_is_named_with_what_there_is():
  with pytest.raises(MemoryError) as caught:
    ask_for_too_much()
  line = memory.explain(caught.value, "lower x")
  assert line.startswith(
    "out of memory on this host: Unable to allocate 8.00 PiB for an array"
  )
  assert " GB of them free; lower x." in line


@pytest.mark.parametrize(
  ("text", "asked"),
  [
    ("Out of memory allocating 140737488355328 bytes.\nx", "140737.49 GB"),
    ("Out of memory while trying to allocate 34359738368 bytes.", "34.36 GB"),
    (
      "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
      "Used 20.3G of 15.5G hbm.",
      "Used 20.3G of 15.5G hbm",
    ),
  ],
)
def test_memory_of_a_device_is_named_with_what_was_asked(text, asked):
  wrapped = RuntimeError("step 3")
  wrapped.__cause__ = of_device(text)
  line = memory.explain(wrapped, memory.RUN)
  assert line.startswith("out of memory on a device: ") and asked in line
  assert "\n" not in line and "data.global_batch_size" in line


def test_other_errors_are_not_explained():
  for error in (ValueError("memory"), of_device("too many requests")):
    assert memory.explain(error, memory.RUN) is None


def test_the_fields_to_change_are_there():
  words = memory.RUN.replace("*", "embed").replace("=", " ").split()
  names = [w.strip("(),") for w in words if "." in w]
  fields = schema.PRETRAIN
  assert len(names) == 5 and all(name in fields for name in names)


@pytest.mark.parametrize(
  ("error", "is_start", "code"),
  [
    (MemoryError("x"), False, 3),
    (of_device("Out of memory"), True, 3),
    (ValueError("x"), True, 2),
    (ValueError("x"), False, 1),
    (OSError(28, "No space left on device", "f"), True, 1),
    (OSError(28, "No space left on device", "f"), False, 1),
    (FileNotFoundError(2, "No such file", "f"), False, 1),
  ],
)
def test_the_trainer_ends_with_the_code_of_the_kind(error, is_start, code):
  try:
    raise error
  except Exception as found:
    message, told = endings.explain(found, is_start=is_start)
  assert told == code
  assert message.startswith("Traceback") == (
    isinstance(error, ValueError) and not is_start
  )


COMMAND = """
import numpy as np
from sapiens2_jax import command

command.run(lambda: np.zeros(2**50))
"""


def test_a_command_says_it_in_one_line():
  done = subprocess.run(
    [sys.executable, "-c", COMMAND], capture_output=True, text=True
  )
  assert done.returncode == 3
  assert done.stderr.startswith("out of memory on this host: Unable to alloc")
  assert done.stderr.count("\n") == 1


class Device:
  def __init__(self, **stats):
    self.memory_stats = lambda: stats or None


def test_memory_in_use_is_that_of_the_fullest_device(monkeypatch):
  full = {"bytes_in_use": 5, "peak_bytes_in_use": 8, "bytes_limit": 9}
  other = {"bytes_in_use": 6, "peak_bytes_in_use": 7, "bytes_limit": 9}
  devices = [Device(**other), Device(**full)]
  monkeypatch.setattr(memory.jax, "local_devices", lambda: devices)
  found = memory.in_use()
  assert found.pop("host_bytes") > 2**20
  assert found == {
    "device_bytes_in_use": 5,
    "device_bytes_peak": 8,
    "device_bytes_limit": 9,
  }


def test_a_platform_that_says_nothing_of_its_memory(monkeypatch):
  monkeypatch.setattr(memory.jax, "local_devices", lambda: [Device()])
  found = memory.in_use()
  assert found.pop("host_bytes") > 2**20
  assert set(found.values()) == {None}
