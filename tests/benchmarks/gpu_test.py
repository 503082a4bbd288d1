"""benchmarks/gpu.py, on CPU and at its smallest."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_attention_is_checked_and_both_steps_are_timed():
  found = run(
    *("benchmarks/gpu.py", "--smallest", "--size", "toy", "--batch", 2),
    *("--eager", "--seconds", 900),
  )
  assert found["card"] == "cpu" and not found["left_out"]
  assert found["attention"]["agrees"] and found["attention"]["auto"] == "xla"
  (toy,) = found["runs"]
  assert toy["ours"]["images_per_second"] > 0 and toy["ours"]["batch"] == 2
  assert toy["torch"]["peak_bytes"] > 0 and toy["speed_against_torch"] > 0


def test_what_there_is_no_time_for_is_left_out():
  found = run("benchmarks/gpu.py", "--seconds", 1)
  assert found["left_out"] == [
    "attention",
    "0.1b ours",
    "0.4b ours",
    "0.8b ours",
  ]
