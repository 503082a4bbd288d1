"""What LoRA adds to a block, against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models import lora
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.layers import HeadMerge, HeadProjection
from tests import tiny  # noqa: F401  The size "tiny".

RANK = 3


def draw(*shape):
  size = int(np.prod(shape))
  return np.random.default_rng(size).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
  """A scanned encoder, its boxed parameters, and LoRA with a drawn B."""
  arch = get_architecture("tiny")
  module = Encoder(arch, layer_scale_init=1.0)
  image = jnp.zeros((1, 16, 16, 3))
  boxed = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
  added = lora.init(jax.random.key(1), boxed, RANK)
  return module, boxed, added


def test_all_matrices_of_the_blocks_have_them_and_their_axes(encoder):
  _, boxed, added = encoder
  found = {
    jax.tree_util.keystr(path, simple=True, separator="/"): box
    for path, box in jax.tree_util.tree_flatten_with_path(
      added["blocks"]["segment_1"], is_leaf=lambda x: hasattr(x, "names")
    )[0]
  }
  names = {name: (box.value.shape, box.names) for name, box in found.items()}
  assert names["attention/k/kernel/b"] == (
    (1, 3, 24),
    ("layers", None, "heads"),
  )
  assert names["attention/proj/kernel/a"] == (
    (1, 48, 3),
    ("layers", "heads", None),
  )
  assert names["ffn/w12/a"] == ((1, 2, 48, 3), ("layers", None, "embed", None))
  assert names["ffn/w3/kernel/b"][1] == ("layers", None, "embed")
  assert len(names) == 2 * 6 and set(added) == {"blocks"}
  a = nn.unbox(added)["blocks"]["segment_0"]["ffn"]["w12"]["a"]
  np.testing.assert_allclose(np.std(a), 48**-0.5, rtol=0.2)


def test_it_is_the_sum_of_two_paths():
  """x W + (x A) B, as in the paper; in float64."""
  x, base, low = draw(2, 5, 8), draw(8, 12), {"a": draw(8, 3), "b": draw(3, 12)}
  given = {"kernel": base, "bias": draw(12)}, {"kernel": low}
  merged = lora.merge(*jax.tree.map(jnp.asarray, given))
  wide = [y.astype(np.float64) for y in (x, base, low["a"], low["b"])]
  expected = wide[0] @ wide[1] + (wide[0] @ wide[2]) @ wide[3] + draw(12)
  projection = HeadProjection(3, 4, jnp.float32)
  found = projection.apply({"params": merged}, jnp.asarray(x))
  found = np.moveaxis(found, 3, 1).reshape(2, 5, 12)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  heads = draw(2, 2, 5, 4)
  flat = np.moveaxis(heads, 1, 2).reshape(2, 5, 8).astype(np.float64)
  merge = HeadMerge(12, jnp.float32)
  found = merge.apply({"params": merged}, jnp.asarray(heads))
  expected = flat @ wide[1] + (flat @ wide[2]) @ wide[3] + draw(12)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_encoder_begins_as_it_was_and_then_is_the_merged_one(encoder):
  module, boxed, added = encoder
  params, added = nn.unbox((boxed, added))
  params = jax.tree.map(lambda x: jnp.asarray(0.3 * draw(*x.shape)), params)
  images = jnp.asarray(draw(2, 64, 48, 3))

  def patches(params, scan=True, **more):
    one = module.clone(scan=scan)
    return one.apply({"params": params, **more}, images).patches

  before = patches(params)
  np.testing.assert_array_equal(patches(params, lora=added), before)
  added = jax.tree.map(lambda x: x + 0.05 * draw(*x.shape), added)
  blocks = lora.merge(params["blocks"], added["blocks"])
  merged = patches(params | {"blocks": blocks})
  assert np.abs(merged - before).max() > 0.01
  for scan in (True, False):
    found = patches(params, scan, lora=added)
    np.testing.assert_allclose(found, merged, atol=1e-5)
