"""benchmarks/plans.py."""

import json
import shutil

import pytest

from tests.benchmarks.running import run
from tests.end_to_end.commands import ROOT


def test_the_page_of_docs_is_that_of_its_plans(tmp_path):
  for name in ("plans", "calibration"):
    shutil.copy(ROOT / "docs" / f"{name}.jsonl", tmp_path)
  found = run("-m", "benchmarks.plans", "--write", "--output", tmp_path)
  page = (ROOT / "docs" / "plans.md").read_text()
  assert (tmp_path / "plans.md").read_text() == page
  plans = page[: page.index("## Calibration")]
  assert found["plans"] == plans.count("\n| ") - 1 and found["fit"] > 0


@pytest.mark.slow
def test_a_plan_is_made_once(tmp_path):
  pytest.importorskip("libtpu")
  command = ("-m", "benchmarks.plans", "--only=toy", "--fast")
  command = (*command, "--output", tmp_path)
  # The TPU compiler ends at flags of the CPU's.
  assert run(*command, XLA_FLAGS="") == {"plans": 1, "fit": 1}
  rows = (tmp_path / "plans.jsonl").read_text()
  page = (tmp_path / "plans.md").read_text()
  assert "| toy | v5e:2x2 | 4 |" in page
  assert json.loads(rows)["scheduled_step_seconds"] is None
  assert run(*command, XLA_FLAGS="") == {"plans": 1, "fit": 1}
  assert (tmp_path / "plans.jsonl").read_text() == rows
