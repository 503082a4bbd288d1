"""Groups, axes, bytes and bandwidth of collectives."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from sapiens2_jax.chips import CHIPS, find_chip
from sapiens2_jax.planning import account, collectives, hlo, kernels

AXES = ("data", "fsdp", "sequence", "tensor")


class Chip:
  """A device with a place in a torus and a slice."""

  def __init__(self, number, coords, slice_index=None):
    self.id, self.coords, self.slice_index = number, coords, slice_index


def mesh_of(shape, sides, slices=1):
  coords = list(np.ndindex(*sides)) * slices
  per_slice = len(coords) // slices
  devices = np.empty(len(coords), object)
  devices[:] = [
    Chip(i, coord, i // per_slice if slices > 1 else None)
    for i, coord in enumerate(coords)
  ]
  return Mesh(devices.reshape(shape), AXES)


@pytest.mark.parametrize(
  ("text", "groups"),
  [
    ("replica_groups={{0,1},{2,3}}", [[0, 1], [2, 3]]),
    ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
    ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
    ("replica_groups=mesh['a'=4] {'a'}, channel", [[0, 1, 2, 3]]),
    ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ("channel_id=1", [[0, 1, 2, 3]]),
  ],
)
def test_groups_are_read_in_every_form(text, groups):
  assert collectives.read_groups(text, 4) == groups


def test_axes_are_those_along_which_a_group_differs():
  mesh = mesh_of((2, 2, 1, 2), (2, 2, 2))
  assert collectives.axes_of([0, 1], mesh) == "tensor"
  assert collectives.axes_of([0, 2, 4, 6], mesh) == "data+fsdp"
  assert collectives.axes_of([3], mesh) == "none"


def test_bandwidth_is_that_of_the_links_a_group_spans():
  chip = CHIPS["v5p"]
  link = chip.link_bandwidth
  torus = mesh_of((1, 64, 1, 1), (4, 4, 4))
  assert collectives.group_bandwidth(list(range(64)), torus, chip) == 6 * link
  assert collectives.group_bandwidth([0, 1, 2, 3], torus, chip) == 2 * link
  line = mesh_of((1, 4, 1, 1), (2, 2, 1))  # Too short to close a ring.
  assert collectives.group_bandwidth([0, 1], line, chip) == link
  two = mesh_of((2, 4, 1, 1), (2, 2, 1), slices=2)
  assert collectives.group_bandwidth([0, 4], two, chip) == chip.dcn_bandwidth


def test_an_all_gather_moves_what_a_device_lacks():
  text = "\n".join(
    [
      "ENTRY %main (p: bf16[16,128]) -> bf16[64,128] {",
      "  %p = bf16[16,128]{1,0} parameter(0)",
      "  ROOT %g = bf16[64,128]{1,0} all-gather(%p), "
      "replica_groups=[1,4]<=[4], dimensions={0}",
      "}",
    ]
  )
  (work,) = account.walk(hlo.parse(text))
  mesh, chip = mesh_of((1, 4, 1, 1), (4, 1, 1)), CHIPS["v5p"]
  found = collectives.describe(work, mesh, chip)
  assert (found.kind, found.axes, found.is_async) == (
    "all-gather",
    "fsdp",
    False,
  )
  assert found.num_bytes == 48 * 128 * 2
  assert found.seconds == found.num_bytes / (2 * chip.link_bandwidth)


def test_a_fusion_of_an_all_reduce_and_a_slice_is_a_reduce_scatter():
  text = "\n".join(
    [
      "%all-reduce-scatter.1 (a: bf16[64,128]) -> bf16[16,128] {",
      "  %a = bf16[64,128]{1,0} parameter(0)",
      "  %r = bf16[64,128]{1,0} all-reduce(%a), replica_groups=[1,4]<=[4]",
      "  %c = u32[] constant(0)",
      "  ROOT %s = bf16[16,128]{1,0} dynamic-slice(%r, %c, %c), "
      "dynamic_slice_sizes={16,128}",
      "}",
      "ENTRY %main (p: bf16[64,128]) -> bf16[16,128] {",
      "  %p = bf16[64,128]{1,0} parameter(0)",
      "  ROOT %f = bf16[16,128]{1,0} fusion(%p), kind=kCustom, "
      "calls=%all-reduce-scatter.1",
      "}",
    ]
  )
  (work,) = account.walk(hlo.parse(text))
  mesh = mesh_of((1, 4, 1, 1), (4, 1, 1))
  found = collectives.describe(work, mesh, CHIPS["v6e"])
  assert (found.kind, found.is_async) == ("reduce-scatter", False)
  assert found.num_bytes == 48 * 128 * 2


def kernel(name, *operands, **sizes):
  """A call of an attention kernel, with tiles and layouts in JAX's words."""
  text = json.dumps(json.dumps(sizes))
  return hlo.Instruction(
    name="kernel",
    opcode="custom-call",
    result=(),
    operands=tuple(
      hlo.Instruction("x", "parameter", (array,), (), "", {}, "", False)
      for array in operands
    ),
    arguments="",
    called={},
    rest=f', kernel_metadata={{"xprof_metadata":{text}}}, op_name="{name}"',
    is_root=False,
  )


def bf16(*dims):
  return hlo.Array("bf16", dims, "")


def test_kernels_cost_their_products_and_the_lanes_they_leave_empty():
  operands = [hlo.Array("s8", (1, 7, 7), ""), bf16(2, 24, 64, 896)]
  operands += [bf16(2, 12, 64, 896), bf16(2, 12, 64, 896)]
  sizes = {"q_layout": 2, "k_layout": 2}
  cost = kernels.kernel_cost(
    kernel("a/splash_mha_fwd_no_residuals/b", *operands, **sizes)
  )
  assert cost.flops == 2 * 2 * 2 * 24 * 896 * 896 * 64
  v5p, v6e = CHIPS["v5p"], CHIPS["v6e"]  # Units of 128 and 256.
  short, long, backward, _ = kernels.SPLASH["v5p"]
  ideal = 2 * cost.flops / 459e12  # Half of the unit is empty, 3/4 of v6e's.
  assert cost.seconds(v5p) == pytest.approx(ideal / short)
  on_v6e = 4 * cost.flops / 918e12 / kernels.SPLASH["v6e"][0]
  assert cost.seconds(v6e) == pytest.approx(on_v6e)
  more_keys = dataclasses.replace(cost, num_keys=3200)
  assert more_keys.seconds(v5p) == pytest.approx(ideal / long)
  gradient = kernels.kernel_cost(kernel("splash_mha_dkv", *operands, **sizes))
  assert gradient.flops * 2 == cost.flops * 5
  assert gradient.seconds(v5p) == pytest.approx(2.5 * ideal / backward)
  with pytest.raises(ValueError, match="no cost is known"):
    kernels.kernel_cost(kernel("another_kernel", *operands))


def test_a_causal_kernel_costs_the_tiles_that_its_mask_leaves():
  sizes = {"q_layout": 1, "k_layout": 1, "use_fused_bwd_kernel": False}
  for tiles in ("", "_dkv", "_dq"):
    sizes |= {f"block_q{tiles}": 128, f"block_kv{tiles}": 256}
  positions = hlo.Array("s32", (512, 128), "")
  masks, q, k = (
    hlo.Array("s8", (1, 4, 2), ""),
    bf16(4, 512, 64),
    bf16(2, 512, 64),
  )

  def flops(name, *operands):
    return kernels.kernel_cost(kernel(name, *operands, **sizes)).flops

  # Of 4 x 2 tiles two lie wholly after their queries.
  causal = 128 * 256 * 6
  for name, products in (("fwd", 2), ("dkv", 4), ("dq", 3)):
    found = flops(f"splash_mha_{name}_residuals", masks, q, k, k, positions)
    assert found == 2 * products * 4 * causal * 64
  # Two such arrays of a segmented kernel are its segments.
  whole = flops("splash_mha_fwd_segmented", q, k, k, positions, positions)
  assert whole == 2 * 2 * 4 * 512 * 512 * 64


def test_kernels_of_the_model_work_on_whole_tiles():
  v6e = CHIPS["v6e"]
  for head_dim, tokens, table, at in (
    (64, 777, kernels.NARROW, 0),
    (76, 3081, kernels.NARROW, 1),
    (128, 3072, kernels.WIDE, 1),
  ):
    padded = -(-tokens // 128) * 128
    arrays = bf16(2, 24, head_dim, tokens), bf16(2, 12, head_dim, tokens)
    cost = kernels.kernel_cost(kernel("jit/attention_forward", *arrays))
    assert cost.flops == 2 * 2 * 2 * 24 * padded**2 * head_dim
    ideal = cost.flops * 256 / head_dim / v6e.peak_flops
    assert cost.seconds(v6e) == pytest.approx(ideal / table["v6e"][at])
    gradient = kernels.kernel_cost(kernel("jit/attention_backward", *arrays))
    seconds = 2.5 * ideal / table["v6e"][2 + at]
    assert gradient.seconds(v6e) == pytest.approx(seconds)


def test_chips_are_found_by_what_jax_calls_them():
  assert find_chip("TPU v5 lite").name == "v5e"
  assert find_chip("TPU v5").name == "v5p"
  assert find_chip("TPU7x").devices == 2  # Two of a chip.
  assert find_chip(jax.devices("cpu")[0].device_kind) is None
