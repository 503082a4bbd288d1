"""benchmarks/gpu_plans.py, without a GPU."""

import pytest

from benchmarks import gpu_plans
from tests.benchmarks.running import run


def _row(few, many):
  account = {
    str(gpu_plans.FEW): {"all": few},
    str(gpu_plans.MANY): {"all": many},
  }
  return {"memory": {"1": account}}


@pytest.mark.parametrize(
  ("few", "many", "images"), [(4, 17, 16), (4, 24, 8), (13, 40, 2), (20, 40, 0)]
)
def test_the_largest_microbatch_fits_with_the_margin(few, many, images):
  gib = 2**30
  assert gpu_plans.largest(_row(few * gib, many * gib), 1, 22 * gib) == images


@pytest.mark.slow
def test_a_table_is_put_where_the_page_wants_it(tmp_path):
  page = tmp_path / "gpus.md"
  page.write_text(f"before\n{gpu_plans.BEGIN}old\n{gpu_plans.END}after\n")
  arguments = ("--only", "toy", "--output", tmp_path)
  assert run("-m", "benchmarks.gpu_plans", *arguments) == {"rows": 2}
  text = page.read_text()
  assert "| pretrain | toy | 16 / 16 | 16 / 16 |" in text and "old" not in text
  assert text.startswith("before") and text.endswith("after\n")
