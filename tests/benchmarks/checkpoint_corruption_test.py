"""benchmarks/checkpoint_corruption.py."""

from tests.benchmarks.running import run


def test_damaged_checkpoints_are_never_taken_silently():
  found = run(*("-m", "benchmarks.checkpoint_corruption", "--cases", 30))
  assert found["silent"] == found["hang"] == found["traceback"] == 0
  assert found["fallback"] > 10
