"""Shapes, counts, and the ways to run the same encoder."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.models import pixels
from sapiens2_jax.models.decoder import Decoder
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import TokenGrid

# Exact counts, as the reference builds them.
NUM_PARAMS = {
  "0.1b": 113_993_472,
  "0.4b": 395_450_368,
  "0.8b": 814_283_520,
  "1b": 1_455_474_176,
  "5b": 5_066_902_976,
  "0.1b_4k": 132_904_704,
  "0.4b_4k": 429_053_952,
  "0.8b_4k": 893_007_360,
  "1b_4k": 1_606_588_928,
  "5b_4k": 5_634_969_536,
}
# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("encoder")

GRID = TokenGrid(3, 2, 16, 16)
# Two equal blocks, and a last one of full attention.
SMALL = Architecture("small", 32, 3, 4, num_full_first=0, num_full_last=1)


@pytest.mark.parametrize("size", NUM_PARAMS)
def test_parameter_count_is_exact(size):
  arch = ARCHITECTURES[size]
  init = functools.partial(Encoder(arch).init, jax.random.key(0))
  shapes = jax.eval_shape(init, jnp.zeros((1, 64, 64, 3)))
  count = sum(x.size for x in jax.tree.leaves(nn.unbox(shapes)))
  assert count == arch.num_params == NUM_PARAMS[size]


@functools.cache
def params():
  """Initial parameters with every branch of order one."""
  init = jax.jit(Encoder(SMALL, layer_scale_init=0.7).init)
  tree = nn.unbox(init(jax.random.key(0), jnp.zeros((1, 32, 16, 3))))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32), tree
  )


@functools.cache
def encode(**options):
  """The encoder as one program: op by op each shape compiles hundreds."""
  return jax.jit(Encoder(SMALL, **options).apply)


def images(height, width, count=2):
  return jax.random.normal(jax.random.key(2), (count, height, width, 3))


@pytest.mark.parametrize("size", [(64, 48), (32, 64)])
def test_output_shapes(size):
  out = encode()(params(), images(*size))
  chex.assert_shape(out.cls, (2, 32))
  chex.assert_shape(out.registers, (2, 8, 32))
  chex.assert_shape(out.patches, (2, size[0] // 16, size[1] // 16, 32))
  chex.assert_type([out.cls, out.registers, out.patches], jnp.float32)


def test_a_remainder_below_one_patch_is_dropped():
  picture = images(70, 60)
  with pytest.warns(
    UserWarning, match="last 6 rows and 12 columns are not loo"
  ):
    whole = Encoder(SMALL).apply(params(), picture)
  cut = Encoder(SMALL).apply(params(), picture[:, :64, :48])
  chex.assert_trees_all_equal(whole, cut)


@pytest.mark.parametrize("shape", [(2, 64, 48, 4), (64, 48, 3)])
def test_wrong_image_shapes_are_refused(shape):
  with pytest.raises((ValueError, TypeError)):
    Encoder(SMALL).apply(params(), jnp.zeros(shape))


def levels():
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.integers(0, 256, (1, 64, 48, 3)), jnp.uint8)


def test_images_that_are_no_floats_are_refused_also_in_jit():
  for apply in (Encoder(SMALL).apply, jax.jit(Encoder(SMALL).apply)):
    with pytest.raises(ValueError, match="are uint8; expected ImageNet-normal"):
      apply(params(), levels())


@pytest.mark.parametrize(
  "change, found",
  [
    (lambda x: x / 255, "from 0 to 1;"),
    (lambda x: x.astype(jnp.float32), "from 0 to 255;"),
    (lambda x: x.astype(jnp.bfloat16) - 128, "from -128 to 127;"),
  ],
)
def test_images_that_nobody_normalised_are_refused(change, found):
  with pytest.raises(ValueError, match=f"images have values {found}"):
    Encoder(SMALL).apply(params(), change(levels()))


def test_normalised_and_constant_images_are_not_refused():
  for image in (levels(), 255 * (levels() // 255), 0 * levels()):
    pixels.check_normalized(pixels.from_uint8(image))
  for value in (0.0, 0.5, 1.0):
    pixels.check_normalized(jnp.full((1, 16, 16, 3), value))
  pixels.check_normalized(jnp.full((1, 16, 16, 3), jnp.array([0.0, 0.5, 0.9])))
  pixels.check_normalized(jnp.zeros((0, 16, 16, 3)))


def test_a_constant_of_a_traced_function_is_looked_at_too():
  image = jnp.full((1, 16, 16, 3), 200.0)

  @jax.jit
  def check(x):
    pixels.check_normalized(0 * image)
    pixels.check_normalized(image)
    return x

  with pytest.raises(ValueError, match="have values from 200 to 200"):
    check(1.0)


def test_an_image_below_one_patch_is_refused():
  with pytest.raises(ValueError, match=r"\(8, 48\) is smaller than one token"):
    Encoder(SMALL).apply(params(), jnp.zeros((1, 8, 48, 3)))


def test_all_patches_visible_equals_the_whole_image():
  picture = images(64, 32)
  ids = jnp.tile(jnp.arange(8), (2, 1))
  whole = encode()(params(), picture)
  visible = encode()(params(), picture, ids)
  np.testing.assert_allclose(visible.cls, whole.cls, atol=1e-6)
  np.testing.assert_allclose(
    visible.patches, whole.patches.reshape(2, 8, 32), atol=1e-6
  )


def test_visible_patches_keep_their_own_position_in_any_order():
  picture = images(64, 32)
  order = jnp.array([[6, 1, 4], [0, 7, 2]])
  found, swapped, elsewhere = (
    encode()(params(), picture, ids)
    for ids in (order, order[:, ::-1], (order + 1) % 8)
  )
  np.testing.assert_allclose(found.cls, swapped.cls, atol=1e-5)
  np.testing.assert_allclose(found.patches, swapped.patches[:, ::-1], atol=1e-5)
  assert np.abs(found.cls - elsewhere.cls).max() > 1e-3


@pytest.mark.parametrize("rope_dtype", ["float32", "bfloat16"])
def test_hidden_patches_do_not_leak(rope_dtype):
  run = encode(rope_dtype=rope_dtype)
  picture = images(64, 32)
  ids = jnp.array([[0, 3], [1, 2]])
  # Patches 4 and up are the lower half of the picture.
  changed = picture.at[:, 32:].set(9.0)
  chex.assert_trees_all_equal(
    run(params(), picture, ids),
    run(params(), changed, ids),
  )


def test_scan_unrolled_and_remat_agree_with_gradients():
  picture = images(48, 32)

  def run(**options):
    encoder = Encoder(SMALL, **options)

    def loss(tree):
      out = encoder.apply(tree, picture)
      return jnp.sum(out.cls**2) + jnp.mean(out.patches**3)

    return jax.jit(jax.value_and_grad(loss))(params())

  expected = run(scan=False)
  for options in (
    {"scan": True, "remat": "full"},
    {"scan": False, "remat": "dots"},
  ):
    chex.assert_trees_all_close(run(**options), expected, atol=2e-4, rtol=2e-4)


def tokens(encoder, picture):
  patches = jnp.reshape(picture, (2, 1, -1, 768))[:, :, :6]
  return encoder.apply(params(), patches, GRID, method="tokenize")


def test_views_in_one_call_equal_views_alone():
  encoder = Encoder(SMALL)
  x, rope = tokens(encoder, images(48, 32))
  views = jnp.concatenate([x, 2 * x, x - 1], axis=1)
  rows = jax.tree.map(lambda t: jnp.broadcast_to(t, (2, 3, *t.shape)), rope)

  def run(method, *given, static=()):
    apply = functools.partial(encoder.apply, method=method)
    return jax.jit(apply, static_argnums=static)(params(), *given)

  dense, cls = run("encode_views", views, rows, 1, static=3)
  chex.assert_shape(dense, (2, 1, 15, 32))
  for view in range(3):
    alone = run("encode", views[:, view], rope)
    np.testing.assert_allclose(cls[:, view], alone[:, 0], atol=2e-5)
    if view == 0:
      np.testing.assert_allclose(dense[:, 0], alone, atol=2e-5)
    only = run("encode_cls", views[:, view], rope)
    np.testing.assert_allclose(only, alone[:, 0], atol=2e-5)


def test_bfloat16_computation_stays_near_float32():
  picture = images(64, 48)
  full = encode()(params(), picture)
  half = encode(dtype=jnp.bfloat16)(params(), picture)
  assert half.cls.dtype == jnp.bfloat16
  error = jnp.linalg.norm(half.patches - full.patches)
  assert error < 0.05 * jnp.linalg.norm(full.patches)


def test_decoder_reconstructs_masked_patches_wherever_they_stand():
  decoder = Decoder(
    patch_dim=48, embed_dim=32, num_layers=2, num_heads=2, scan=False
  )
  features = jax.random.normal(jax.random.key(0), (1, 3, 16))
  visible, masked = jnp.array([[0, 4, 5]]), jnp.array([[1, 2, 3]])
  variables = nn.unbox(
    jax.jit(decoder.init, static_argnums=4)(
      jax.random.key(1), features, visible, masked, GRID
    )
  )

  @functools.partial(jax.jit, static_argnums=3)
  def run(*inputs):
    return decoder.apply(variables, *inputs).patches

  out = run(features, visible, masked, GRID)
  chex.assert_shape(out, (1, 3, 48))
  turned = run(features[:, ::-1], visible[:, ::-1], masked[:, ::-1], GRID)
  np.testing.assert_allclose(out, turned[:, ::-1], atol=1e-5)
  # One mask token serves all: only the position tells patches apart.
  assert np.abs(out[0, 0] - out[0, 1]).max() > 1e-6
