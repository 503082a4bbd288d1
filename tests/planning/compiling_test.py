"""sapiens2_jax/planning/compiling.py: a compiler that is stopped early."""

import os
import pathlib
import time

import jax
import pytest

from sapiens2_jax.planning import compiling

REPORT = "Memory Space: default (color=0)\nTotal bytes: 4096 (4.0KiB)\n"


class Compiler:
  """Stands in for a program whose compiler does as `how` says."""

  def __init__(self, how: str):
    self.how = how

  def compile(self, compiler_options):
    folder = pathlib.Path(compiler_options["xla_dump_to"])
    if self.how == "too large":
      raise jax.errors.JaxRuntimeError("Used 40.00G of 31.24G hbm.")
    if self.how == "dies":
      os._exit(3)
    (folder / "a.memory-usage-report.txt").write_text(REPORT)
    (folder / "a.after_buffer_assignment.txt").write_text("HloModule step")
    if self.how == "makes code for long":
      time.sleep(600)


@pytest.mark.parametrize(
  "how",
  [
    "makes code for long",
    pytest.param("makes code at once", marks=pytest.mark.slow),
  ],
)
def test_the_program_is_read_before_its_code_is_made(how):
  assert compiling.schedule(Compiler, how) == ("HloModule step", 4096)


@pytest.mark.slow
def test_what_is_too_large_is_told_from_what_fails():
  with pytest.raises(compiling.TooLargeError) as found:
    compiling.schedule(Compiler, "too large")
  assert found.value.used == 40 * 2**30
  with pytest.raises(RuntimeError, match="ended with 3"):
    compiling.schedule(Compiler, "dies")
