"""benchmarks/kills.py."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


# On a disk: tests/end_to_end/resume_test.py.
def test_runs_in_a_bucket_end_as_if_nothing_had_been():
  arguments = ("--kills", 1, "--seed", 3, "--bucket")
  found = run(*("-m", "benchmarks.kills"), *arguments)
  assert found["kills"] == 1
  assert found["runs"] == found["equal"] >= 1
  assert found["answers_of_503"] > 0
