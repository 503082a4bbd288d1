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


# As the TPU compiler writes a loop of its own, without a count.
BY_TWO = """
%body (state: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %state = (s32[], f32[8,8]{1,0}) parameter(0)
  %two = s32[] constant(2)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[8,8]{1,0} get-tuple-element(%state), index=1
  %next = s32[] add(%i, %two)
  %dot = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %out = (s32[], f32[8,8]{1,0}) tuple(%next, %dot)
}

%condition (state.1: (s32[], f32[8,8])) -> pred[] {
  %state.1 = (s32[], f32[8,8]{1,0}) parameter(0)
  %end = s32[] constant(7)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%i.1, %end), direction=LT
}

ENTRY %main (x.1: f32[8,8]) -> f32[8,8] {
  %x.1 = f32[8,8]{1,0} parameter(0)
  %one = s32[] constant(1)
  %copy = s32[] copy(%one)
  %tuple = (s32[], f32[8,8]{1,0}) tuple(%copy, %x.1)
  %while = (s32[], f32[8,8]{1,0}) while(%tuple), condition=%condition, body=%body
  ROOT %result = f32[8,8]{1,0} get-tuple-element(%while), index=1
}
"""  # noqa: E501


def test_a_loop_may_count_by_more_than_one():
  assert flops(account.walk(hlo.parse(BY_TWO))) == 3 * 2 * 8**3


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


def test_a_slice_counts_through_the_fusions_within_a_fusion():
  stack, row = "f32[7,4]{1,0}", "f32[1,4]{1,0}"
  inner = [
    f"%copy_fusion.1 (d: {stack}) -> {stack} {{",
    f"  %d = {stack} parameter(0)",
    f"  ROOT %r = {stack} copy(%d)",
    "}",
    f"%taken (e: {stack}, g: s32[]) -> {row} {{",
    f"  %e = {stack} parameter(0)",
    "  %g = s32[] parameter(1)",
    f"  ROOT %h = {row} dynamic-slice(%e, %g, %g), dynamic_slice_sizes={{1,4}}",
    "}",
    f"%inner (a: {stack}, b: {stack}, c: s32[]) -> {stack} {{",
    f"  %a = {stack} parameter(0)",
    f"  %b = {stack} parameter(1)",
    "  %c = s32[] parameter(2)",
    f"  %n = {row} fusion(%b, %c), kind=kLoop, calls=%taken",
    f"  %v = {stack} fusion(%a), kind=kLoop, calls=%copy_fusion.1",
    f"  ROOT %u = {stack} dynamic-update-slice(%v, %n, %c, %c)",
    "}",
  ]
  found = program(
    f"%x = {stack} parameter(0)",
    f"%y = {stack} parameter(1)",
    "%i = s32[] parameter(2)",
    f"ROOT %f = {stack} fusion(%x, %y, %i), kind=kLoop, calls=%inner",
    before=inner,
  )
  (work,) = account.walk(found)
  assert work.hbm_bytes == 16 + 4 + 16  # Row, number; row.


def test_what_a_fusion_within_a_fusion_hands_on_is_read_whole():
  array, square = "f32[8,4]{1,0}", "f32[4,4]{1,0}"
  inner = [
    f"%handed (d: {array}) -> f32[8,4,1] {{",
    f"  %d = {array} parameter(0)",
    "  ROOT %r = f32[8,4,1]{1,0,2} bitcast(%d)",
    "}",
    f"%inner (a: {array}, b: {square}) -> {array} {{",
    f"  %a = {array} parameter(0)",
    f"  %b = {square} parameter(1)",
    "  %n = f32[8,4,1]{1,0,2} fusion(%a), kind=kLoop, calls=%handed",
    f"  ROOT %u = {array} convolution(%n, %b), dim_labels=bf0_io->bf",
    "}",
  ]
  found = program(
    f"%x = {array} parameter(0)",
    f"%y = {square} parameter(1)",
    f"ROOT %f = {array} fusion(%x, %y), kind=kOutput, calls=%inner",
    before=inner,
  )
  assert account.count_bytes(hlo.root(found.computations["main"])) == (
    4 * (8 * 4 + 4 * 4 + 8 * 4)
  )


def test_what_is_made_beside_an_update_is_written_whole():
  inner = [
    "%inner (a: f32[7,4], b: f32[1,4], c: s32[]) -> (f32[7,4], f32[1,4]) {",
    "  %a = f32[7,4]{1,0} parameter(0)",
    "  %b = f32[1,4]{1,0} parameter(1)",
    "  %c = s32[] parameter(2)",
    "  %n = f32[1,4]{1,0} negate(%b)",
    "  %u = f32[7,4]{1,0} dynamic-update-slice(%a, %n, %c, %c)",
    "  ROOT %t = (f32[7,4]{1,0}, f32[1,4]{1,0}) tuple(%u, %n)",
    "}",
  ]
  found = program(
    "%x = f32[7,4]{1,0} parameter(0)",
    "%y = f32[1,4]{1,0} parameter(1)",
    "%i = s32[] parameter(2)",
    "ROOT %f = (f32[7,4]{1,0}, f32[1,4]{1,0}) fusion(%x, %y, %i), "
    "kind=kLoop, calls=%inner",
    before=inner,
  )
  (work,) = account.walk(found)
  assert work.hbm_bytes == 16 + 4 + 16 + 16  # Row, number; row, row again.


def test_a_transfer_counts_the_slice_that_it_moves():
  source, piece = "f32[64,128]{1,0:T(8,128)}", "f32[8,128]{1,0:T(8,128)S(1)}"
  found = program(
    f"%p = {source} parameter(0)",
    f"%slice-start.1 = (({source}), {piece}, s32[]) async-start(%p), "
    "calls=%inner",
    f"ROOT %slice-done.1 = {piece} async-done(%slice-start.1)",
    before=[
      "%inner (a: f32[64,128]) -> f32[8,128] {",
      f"  %a = {source} parameter(0)",
      f"  ROOT %s = {piece} slice(%a), slice={{[0:8], [0:128]}}",
      "}",
    ],
  )
  (work,) = account.walk(found)
  assert work.is_transfer and work.collective is None
  assert work.hbm_bytes == 8 * 128 * 4  # Read once, written to the chip.


def test_a_part_of_what_lies_on_the_chip_takes_no_hbm():
  found = program(
    "%p = f32[64,128]{1,0:T(8,128)S(1)} parameter(0)",
    "ROOT %s = f32[8,128]{1,0:T(8,128)} slice(%p), slice={[0:8], [0:128]}",
  )
  (work,) = account.walk(found)
  assert work.hbm_bytes == 8 * 128 * 4  # Written.


def test_a_collective_of_another_core_is_found():
  inner = [
    "%gather (b: f32[8,4]) -> f32[32,4] {",
    "  %b = f32[8,4]{1,0} parameter(0)",
    "  ROOT %g = f32[32,4]{1,0} all-gather(%b), replica_groups=[1,4]<=[4]",
    '}, execution_thread="sparsecore"',
    "%async (a: f32[8,4]) -> f32[32,4] {",
    "  %a = f32[8,4]{1,0} parameter(0)",
    "  ROOT %c = f32[32,4]{1,0} custom-call(%a), "
    'custom_call_target="any", called_computations={%gather}',
    '}, execution_thread="sparsecore"',
  ]
  found = program(
    "%p = f32[8,4]{1,0} parameter(0)",
    "%g-start = ((), (), (s32[8192])) async-start(), calls=%async",
    "ROOT %g-done = f32[32,4]{1,0} async-done(%g-start)",
    before=inner,
  )
  (work,) = account.walk(found)
  assert work.collective.opcode == "all-gather" and not work.is_transfer


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
  assert start.collective.opcode == "all-gather"
  assert product.collective is None and not product.is_transfer
  assert product.flops == 2 * 4 * 16 * 32
  assert product.hbm_bytes == 4 * (4 * 16 + 16 * 32 + 4 * 32)
