"""The account of compiled programs, against what can be worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sapiens2_jax.planning import account, hlo


def works(function, *args):
  text = jax.jit(function).lower(*args).compile().as_text()
  return account.walk(hlo.parse(text))


def flops(found) -> int:
  return sum(work.times * work.flops for work in found)


def test_loops_count_as_often_as_they_run():
  x, w = jnp.ones((8, 16)), jnp.ones((5, 16, 16))

  def scanned(x, w):
    return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

  assert flops(works(scanned, x, w)) == 5 * 2 * 8 * 16 * 16

  def nested(x, w):
    return lax.fori_loop(0, 3, lambda _, x: scanned(x, w), x)

  assert flops(works(nested, x, w)) == 3 * 5 * 2 * 8 * 16 * 16


def test_the_costlier_side_of_a_branch_counts():
  x = jnp.ones((8, 8))

  def branch(x, flag):
    return lax.cond(flag, lambda x: x @ x @ x, lambda x: x @ x, x)

  assert flops(works(branch, x, True)) == 2 * 2 * 8**3


def test_a_loop_without_a_known_end_counts_once_and_is_reported():
  x = jnp.ones((8, 8))

  def search(x):
    return lax.while_loop(lambda x: x.sum() < 9e9, lambda x: x @ x, x)

  text = jax.jit(search).lower(x).compile().as_text()
  program = hlo.parse(text)
  assert flops(account.walk(program)) == 2 * 8**3
  assert account.count_unknown_loops(program) == 1


def program(*lines, entry="ENTRY %main (p: f32[8]) -> f32[8] {", before=()):
  return hlo.parse("\n".join([*before, entry, *(f"  {x}" for x in lines), "}"]))


def test_arrays_take_whole_tiles_in_hbm():
  found = program(
    "%p = bf16[12,777,64]{2,1,0:T(8,128)(2,1)} parameter(0)",
    "ROOT %c = bf16[12,777,64]{1,2,0:T(8,128)(2,1)S(1)} copy(%p)",
  )
  wide, tall = (found.computations["main"][n].result[0] for n in "pc")
  assert wide.num_bytes == 12 * 784 * 128 * 2
  assert tall.num_bytes == 12 * 64 * 896 * 2
  assert tall.hbm_bytes == 0  # S(1) lies on the chip.


def test_a_fusion_reads_only_the_slice_and_writes_only_the_update():
  inner = [
    "%inner (a: f32[9,4], b: s32[], c: f32[7,4]) -> f32[7,4] {",
    "  %a = f32[9,4]{1,0} parameter(0)",
    "  %b = s32[] parameter(1)",
    "  %c = f32[7,4]{1,0} parameter(2)",
    "  %zero = s32[] constant(0)",
    "  %s = f32[1,4]{1,0} dynamic-slice(%a, %b, %zero), "
    "dynamic_slice_sizes={1,4}",
    "  ROOT %u = f32[7,4]{1,0} dynamic-update-slice(%c, %s, %b, %zero)",
    "}",
  ]
  found = program(
    "%x = f32[9,4]{1,0} parameter(0)",
    "%i = s32[] parameter(1)",
    "%y = f32[7,4]{1,0} parameter(2)",
    "ROOT %f = f32[7,4]{1,0} fusion(%x, %i, %y), kind=kLoop, calls=%inner",
    before=inner,
  )
  (work,) = account.walk(found)
  assert work.hbm_bytes == 16 + 4 + 16  # a row, the number, a row


def test_convolutions_count_products_that_exist():
  # A batched product (3, 5, 7) x (3, 7, 4) as the TPU compiler writes it: the
  # batch is a spatial axis, dilated so that only equal numbers meet.
  found = program(
    "%a = f32[3,5,7]{2,1,0} parameter(0)",
    "%b = f32[3,7,4]{2,1,0} parameter(1)",
    "ROOT %c = f32[3,5,4]{2,1,0} convolution(%a, %b), window={size=3 "
    "stride=2 pad=0_0 lhs_dilate=3}, dim_labels=0bf_0io->0bf",
  )
  (work,) = account.walk(found)
  assert work.flops == 2 * 3 * 5 * 7 * 4


def test_dense_convolution_of_a_matrix():
  found = program(
    "%a = bf16[12,777,64]{2,1,0} parameter(0)",
    "%b = bf16[64,32,1]{1,0,2} parameter(1)",
    "ROOT %c = bf16[12,777,32]{2,1,0} convolution(%a, %b), "
    "window={size=1}, dim_labels=0bf_io0->0bf",
  )
  assert account.walk(found)[0].flops == 2 * 12 * 777 * 64 * 32


def test_a_computation_of_another_core_ends_with_its_last_line():
  found = program(
    "%p = f32[8]{0} parameter(0)",
    "ROOT %f = f32[8]{0} fusion(%p), kind=kLoop, calls=%inner",
    before=[
      "%inner (a: f32[8]) -> f32[8] {",
      "  %a = f32[8]{0} parameter(0)",
      "  ROOT %n = f32[8]{0} negate(%a)",
      '}, execution_thread="sparsecore"',
    ],
  )
  assert list(found.computations["inner"]) == ["a", "n"]
  assert list(found.computations["main"]) == ["p", "f"]


def test_a_text_that_is_no_program_is_refused():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.parse("HloModule nothing")


def test_on_cpu_the_account_agrees_with_the_compiler():
  x, w = jnp.ones((32, 64)), jnp.ones((64, 48))

  def loss(x, w):
    return jnp.sum((x @ w) ** 2)

  grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
  compiled = grad.lower(x, w).compile()
  found = flops(account.walk(hlo.parse(compiled.as_text())))
  assert found == 3 * 2 * 32 * 64 * 48
  np.testing.assert_allclose(found, compiled.cost_analysis()["flops"], rtol=0.1)


def test_a_collective_beside_products_counts_once_and_hides_no_product():
  gather = (
    "%g{0} = f32[64,8]{{1,0}} all-gather(%a{0}), replica_groups=[1,4]<=[4]"
  )
  before = []
  for number, result in enumerate(("start", "product", "done")):
    before += [
      f"%{result} (a{number}: f32[16,8]) -> f32[64,8] {{",
      f"  %a{number} = f32[16,8]{{1,0}} parameter(0)",
      "  " + gather.format(number),
    ]
    if result == "product":
      before += [
        "  %x = f32[4,16]{1,0} parameter(1)",
        "  %w = f32[16,32]{1,0} parameter(2)",
        "  %y = f32[4,32]{1,0} convolution(%x, %w), window={}, "
        "dim_labels=bf_io->bf",
        "  ROOT %t = (f32[4,32], f32[16,8], f32[64,8]) tuple(%y, %a1, %g1)",
      ]
    else:
      before += [
        f"  ROOT %t{number} = (f32[16,8], f32[64,8]) "
        f"tuple(%a{number}, %g{number})"
      ]
    before += ["}"]
  found = program(
    "%p = f32[16,8]{1,0} parameter(0)",
    "%q = f32[4,16]{1,0} parameter(1)",
    "%r = f32[16,32]{1,0} parameter(2)",
    "%async-collective-start.1 = (f32[16,8]{1,0}, f32[64,8]{1,0}) fusion(%p), "
    "kind=kCustom, calls=%start",
    "%fusion.1 = (f32[4,32]{1,0}, f32[16,8]{1,0}, f32[64,8]{1,0}) "
    "fusion(%p, %q, %r), kind=kOutput, calls=%product",
    "%async-collective-done.1 = f32[64,8]{1,0} fusion(%p), kind=kCustom, "
    "calls=%done",
    before=before,
  )
  start, product = account.walk(found)
  assert start.collective == "all-gather" and product.collective == ""
  assert product.flops == 2 * 4 * 16 * 32
  assert product.hbm_bytes == 4 * (4 * 16 + 16 * 32 + 4 * 32)
