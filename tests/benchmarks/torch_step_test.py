"""benchmarks/torch_step.py, the peer alone."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_the_peer_runs_alone():
  found = run(
    *("benchmarks/torch_step.py", "--repeats", 1, "--batch_size", 2),
  )
  assert found["median_seconds"] > 0 and found["matmul_gflops"] > 0
