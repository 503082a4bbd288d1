"""benchmarks/kills.py."""

import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_killed_runs_end_as_if_nothing_had_been():
  found = run(*("-m", "benchmarks.kills", "--kills", 1))
  assert found["kills"] == 1
  assert found["runs"] == found["equal"] == 1


def test_runs_in_a_bucket_do_so_too():
  arguments = ("--kills", 2, "--seed", 3, "--bucket")
  found = run(*("-m", "benchmarks.kills"), *arguments)
  assert found["kills"] == 2
  assert found["runs"] == found["equal"] >= 1
  assert found["answers_of_503"] > 0
