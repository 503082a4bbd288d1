"""Groups, axes, bytes and bandwidth of collectives."""

import dataclasses

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


def test_kernels_cost_their_products_and_the_lanes_they_leave_empty():
  def array(*dims):
    return (hlo.Array("bf16", dims, ""),)

  operands = [(hlo.Array("s8", (1, 7, 7), ""),), array(2, 24, 64, 896)]
  operands += [array(2, 12, 64, 896), array(2, 12, 64, 896)]
  cost = kernels.kernel_cost("a/splash_mha_fwd_no_residuals/b", operands)
  assert cost.flops == 2 * 2 * 2 * 24 * 896 * 896 * 64
  v5p, v6e = CHIPS["v5p"], CHIPS["v6e"]  # Units of 128 and 256.
  short, long, backward = kernels.EFFICIENCY["v5p"]
  ideal = 2 * cost.flops / 459e12  # Half of the unit is empty, 3/4 of v6e's.
  assert cost.seconds(v5p) == pytest.approx(ideal / short)
  on_v6e = 4 * cost.flops / 918e12 / kernels.EFFICIENCY["v6e"][0]
  assert cost.seconds(v6e) == pytest.approx(on_v6e)
  more_keys = dataclasses.replace(cost, num_keys=3200)
  assert more_keys.seconds(v5p) == pytest.approx(ideal / long)
  gradient = kernels.kernel_cost("splash_mha_dkv", operands)
  assert gradient.flops * 2 == cost.flops * 5
  assert gradient.seconds(v5p) == pytest.approx(2.5 * ideal / backward)
  with pytest.raises(ValueError, match="no cost is known"):
    kernels.kernel_cost("another_kernel", operands)


def test_kernels_of_the_model_work_on_whole_tiles():
  def array(*dims):
    return (hlo.Array("bf16", dims, ""),)

  v6e = CHIPS["v6e"]
  for head_dim, tokens, table, at in (
    (64, 777, kernels.NARROW, 0),
    (76, 3081, kernels.NARROW, 1),
    (128, 3072, kernels.WIDE, 1),
  ):
    padded = -(-tokens // 128) * 128
    arrays = [array(2, 24, head_dim, tokens), array(2, 12, head_dim, tokens)]
    cost = kernels.kernel_cost("jit/attention_forward", arrays)
    assert cost.flops == 2 * 2 * 2 * 24 * padded**2 * head_dim
    ideal = cost.flops * 256 / head_dim / v6e.peak_flops
    assert cost.seconds(v6e) == pytest.approx(ideal / table["v6e"][at])
    gradient = kernels.kernel_cost("jit/attention_backward", arrays)
    seconds = 2.5 * ideal / table["v6e"][2 + at]
    assert gradient.seconds(v6e) == pytest.approx(seconds)


def test_chips_are_found_by_what_jax_calls_them():
  assert find_chip("TPU v5 lite").name == "v5e"
  assert find_chip("TPU v5").name == "v5p"
  assert find_chip(jax.devices("cpu")[0].device_kind) is None
