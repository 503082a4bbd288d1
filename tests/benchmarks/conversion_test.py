"""benchmarks/conversion.py and its steps."""

import os
import sys

import pytest

from tests.benchmarks.running import run
from tests.end_to_end import commands


@pytest.mark.slow
def test_weights_survive_and_both_frameworks_agree(tmp_path):
  found = run(
    *("benchmarks/conversion.py", "--size", "toy", "--dtype", "float32"),
    *("--shard_gb", 0.002, "--forward", "--run", "whole"),
    *("--directory", tmp_path / "large"),
  )
  assert found["equal_tensors"] == 73
  assert found["layer"]["keys_that_do_not_fit"] == []
  for part in ("layer", "forward"):
    assert found[part]["max_abs_output"] > 1
    assert found[part]["max_abs_difference"] < 1e-5
  assert set(found["share_of_copy"]) == {"import", "export"}
  assert 0.1 < found["peak_gb"]["export_run"] < 2
  assert not list((tmp_path / "large").iterdir())


def test_too_little_room_is_an_error():
  command = [sys.executable, "benchmarks/conversion.py", "--size", "5b"]
  done = commands.run([*command, "--directory", "/proc/self"], os.environ)
  assert done.returncode == 1
  said = "--directory: /proc/self: needs 31.41 GB, its disk has 0.00 GB free"
  assert done.stderr.strip() == said
