"""benchmarks/kernels.py, with the TPU compiler and no TPU."""

import pytest

from tests.benchmarks.running import run

pytest.importorskip("libtpu")
pytestmark = pytest.mark.slow


def test_a_kernel_keeps_its_units_busy_for_a_part_of_the_time():
  arguments = ("--chip", "v5e", "--shape", "[1, 1, 128, 128]")
  # The TPU compiler ends at flags of the CPU's.
  found = run("-m", "benchmarks.kernels", *arguments, XLA_FLAGS="")
  (found,) = found.values()
  assert set(found) == {"wide, forward, short", "wide, backward, short"}
  # A product may run beside another, all of them beside none.
  assert all(0 < share < 2 for share in found.values())
