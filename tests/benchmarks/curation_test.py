"""benchmarks/curation.py: few rows, and the smallest encoder."""

import pytest

from tests.benchmarks.running import run


@pytest.mark.slow
def test_what_was_planted_is_found_and_costs_are_computed(tmp_path):
  picture = tmp_path / "scale.png"
  found = run(
    *("benchmarks/curation.py", "--rows", 10_000, 20_000, "--images", 2),
    *("--picture", picture, "--directory", tmp_path, "--encoder", "toy"),
  )
  assert picture.read_bytes().startswith(b"\x89PNG")
  assert list(tmp_path.iterdir()) == [picture]
  # A tenth are copies, a fifth near others, 100 are taken down.
  kept = [one["kept"] for one in found["measured"]]
  assert kept == [6_900, 13_900]
  assert [one["sampled"] for one in found["measured"]] == [1_000, 2_000]
  cost = found["cost"]
  assert set(cost["core_hours"]) >= {"decode", "person", "text", "deciding"}
  assert cost["core_hours_without_embedding"] > 1000
