"""benchmarks/kills.py."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_killed_runs_end_as_if_nothing_had_been():
  found = run(*("-m", "benchmarks.kills", "--kills", 1))
  assert found["kills"] == 1
  assert found["runs"] == found["equal"] == 1
