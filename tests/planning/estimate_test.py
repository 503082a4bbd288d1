"""Seconds from a program's text."""

import pytest

from sapiens2_jax.chips import CHIPS
from sapiens2_jax.planning import hlo
from sapiens2_jax.planning.estimate import estimate
from tests.planning.collectives_test import mesh_of

CHIP = CHIPS["v5e"]


def program(rows: int) -> hlo.Program:
  """A product, and a fetch of `rows` rows into the chip's memory beside it."""
  fetched = f"f32[{rows},128]{{1,0:T(8,128)}}"
  lines = (
    "ENTRY %main (p: f32[1024,1024]) -> f32[1024,1024] {",
    "  %p = f32[1024,1024]{1,0:T(8,128)} parameter(0)",
    f"  %q = {fetched} parameter(1)",
    f"  %copy-start = ({fetched[:-1]}S(1)}}, {fetched}, u32[]) copy-start(%q)",
    "  %y = f32[1024,1024]{1,0:T(8,128)} dot(%p, %p), "
    "lhs_contracting_dims={1}, rhs_contracting_dims={0}",
    f"  %copy-done = {fetched[:-1]}S(1)}} copy-done(%copy-start)",
    "  ROOT %z = f32[1024,1024]{1,0:T(8,128)} copy(%y)",
    "}",
  )
  return hlo.parse("\n".join(lines))


def test_a_transfer_runs_beside_products_until_bandwidth_is_used_up():
  mesh = mesh_of((1, 1, 1, 1), (1, 1, 1))
  product = max(2 * 1024**3 / CHIP.peak_flops, 3 * 2**22 / CHIP.hbm_bandwidth)
  copy = 2 * 2**22 / CHIP.hbm_bandwidth
  few = estimate(program(8), mesh, CHIP)
  assert few.device_seconds == pytest.approx(
    max(product + copy, (5 * 2**22 + 4096) / CHIP.hbm_bandwidth)
  )
  many = estimate(program(2**20), mesh, CHIP)
  total = 5 * 2**22 + 2**20 * 512
  assert many.hbm_bytes == total
  assert many.device_seconds == pytest.approx(total / CHIP.hbm_bandwidth)
  assert many.scheduled_seconds == many.device_seconds
