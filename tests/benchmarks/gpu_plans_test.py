"""benchmarks/gpu_plans.py, without a GPU."""

import pytest

from benchmarks import gpu_plans
from tests.benchmarks.running import run


def _row(few, many):
  kinds = [{"all": gib * 2**30, "batch": 2**20} for gib in (few, many)]
  account = dict(zip((str(gpu_plans.FEW), str(gpu_plans.MANY)), kinds))
  return {"job": "pretrain", "memory": {"1": account}}


@pytest.mark.parametrize(
  ("few", "many", "images"), [(4, 17, 16), (4, 24, 8), (17, 40, 2), (20, 40, 0)]
)
def test_the_largest_microbatch_fits_with_the_margin(few, many, images):
  # All 256 images of a step take 64 MiB.
  assert gpu_plans.largest(_row(few, many), 1, 22 * 2**30) == images


@pytest.mark.slow
def test_a_table_is_put_where_the_page_wants_it(tmp_path):
  page = tmp_path / "gpus.md"
  page.write_text(f"before\n{gpu_plans.BEGIN}old\n{gpu_plans.END}after\n")
  arguments = ("--only", "toy", "--output", tmp_path)
  assert run("-m", "benchmarks.gpu_plans", *arguments) == {"rows": 1}
  text = page.read_text()
  assert "| pretrain | toy | 16 x 16 | 16 x 16 |" in text and "old" not in text
  assert text.startswith("before") and text.endswith("after\n")
