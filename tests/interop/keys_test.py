"""The numbers in this file are those of the public release."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import convert, keys
from sapiens2_jax.models.encoder import Encoder
from tests.interop import samples

# parameters, entries with the buffer
RELEASED = {
  "0.1b": (113_993_472, 210),
  "0.4b": (395_450_368, 414),
  "0.8b": (814_283_520, 550),
  "1b": (1_455_474_176, 686),
  "5b": (5_066_902_976, 958),
}


def _abstract_params(arch):
  import flax.linen as nn

  encoder = Encoder(arch)
  variables = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 32, 48, 3))
  )
  return nn.unbox(variables["params"])


@pytest.mark.parametrize("size", RELEASED)
def test_state_dict_has_the_released_entries_and_parameters(size):
  arch = ARCHITECTURES[size]
  tensors = convert.tensors_from_params(_abstract_params(arch), arch)
  num_params, num_entries = RELEASED[size]
  assert len(tensors) == num_entries
  learned = [x for key, x in tensors.items() if key != keys.PERIODS_KEY]
  assert sum(np.prod(x.shape) for x in learned) == num_params
  assert tensors[keys.PERIODS_KEY].shape == (arch.head_dim // 4,)


@pytest.mark.parametrize("size", ["toy", "0.4b", "5b"])
def test_slots_cover_the_parameter_tree_exactly(size):
  arch = ARCHITECTURES[size]
  paths = {
    tuple(part.key for part in path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      _abstract_params(arch)
    )
  }
  found = {}
  for slot in keys.slots(arch):
    dummy = np.broadcast_to(np.float32(0), slot.shape)
    if slot.path not in found:
      shape = jax.eval_shape(_as_jax(slot.entry.layout), dummy).shape
      rows = () if slot.num_rows is None else (slot.num_rows,)
      found[slot.path] = (*rows, *shape)
  assert found == paths


def _as_jax(layout):
  if layout is keys.LINEAR:
    return jnp.transpose
  return layout.to_ours


def test_names_are_unique_and_parse_back():
  for style in keys.STYLES:
    names = list(samples.shapes(samples.TINY, style))
    expected = sum(len(s.keys(style)) for s in keys.slots(samples.TINY))
    assert len(set(names)) == len(names) == expected
    assert all(keys.parse(name, style) is not None for name in names)
  assert keys.parse("blocks.7.attn.wq.weight", "reference")[1] == 7
  assert keys.parse("blocks.x.attn.wq.weight", "reference") is None
  assert keys.parse("blocks.7.attn.wq.weight", "transformers") is None


def test_gate_is_the_first_half_of_w12():
  x = np.arange(2 * 3 * 5).reshape(6, 5)
  ours = keys.GATED.to_ours(x)
  assert ours.shape == (2, 5, 3)
  np.testing.assert_array_equal(ours[0], x[:3].T)
  np.testing.assert_array_equal(ours[1], x[3:].T)


def test_patch_kernel_rows_are_row_column_channel():
  x = np.arange(7 * 3 * 4 * 4).reshape(7, 3, 4, 4)
  ours = keys.PATCH.to_ours(x)
  row, col, channel = 2, 1, 0
  np.testing.assert_array_equal(
    ours[(row * 4 + col) * 3 + channel], x[:, channel, row, col]
  )


def test_every_layout_is_undone_exactly():
  for slot in keys.slots(samples.TINY):
    x = np.arange(np.prod(slot.shape)).reshape(slot.shape)
    layout = slot.entry.layout
    np.testing.assert_array_equal(layout.to_reference(layout.to_ours(x)), x)
