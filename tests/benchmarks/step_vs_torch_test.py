"""benchmarks/step_vs_torch.py and its peer."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_both_frameworks_take_the_same_step():
  (found,) = run(
    *("benchmarks/step_vs_torch.py", "--setting", "smallest"),
    *("--peer", "torch-eager", "--rounds", 1),
  )["runs"]
  assert found["first_losses_differ_by"] < 2e-5
  assert set(found["median_seconds"]) == {"ours", "torch-eager"}
  assert found["useful_gflops"] > 0
