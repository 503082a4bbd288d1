"""The local stage of the 4K variant: windows stay apart, and cost as many."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.training import flops

SMALL = Architecture(
  "small", 32, 2, 4, patch_size=2, window_size=4, num_window_layers=2
)
SIZE = (32, 24)  # 4 x 3 windows of 8 pixels


def encoder(**settings):
  return Encoder(SMALL, layer_scale_init=0.7, **settings)


@functools.cache
def variables():
  """Initial parameters with every branch of order one."""
  init = jax.jit(encoder().init)
  tree = nn.unbox(init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.2 * rng.standard_normal(x.shape, np.float32), tree
  )


def draw():
  """Pixels of the windows of three images, and half of their windows."""
  images = jax.random.normal(jax.random.key(2), (3, *SIZE, 3))
  ids = jax.random.permutation(
    jax.random.key(3),
    jnp.tile(jnp.arange(12), (3, 1)),
    axis=1,
    independent=True,
  )
  return encoder().patchify(images), ids[:, :6]


def test_a_window_is_a_square_of_the_image():
  image = jnp.arange(16 * 16 * 3.0).reshape(16, 16, 3)
  (window, *_), *_ = pixel_lib.patchify(image[None], 8)
  patches = pixel_lib.split_patches(window, 4)
  chex.assert_trees_all_equal(patches[5], image[2:4, 2:4].reshape(-1))
  small = pixel_lib.shrink_patches(window, 4)
  mean = image[2:4, 4:6].mean(axis=(0, 1))
  np.testing.assert_allclose(small.reshape(4, 4, 3)[1, 2], mean, rtol=1e-6)


def tokens(params, pixels, ids, model, is_dropped_later: bool):
  """Of the windows `ids`, computed alone or taken from all."""
  call = functools.partial(model.apply, params, method="tokenize")
  grid = model.grid(SIZE)
  if not is_dropped_later:
    return call(pixels, grid, ids)[0]
  x, _ = call(pixels, grid)
  prefix = SMALL.num_prefix_tokens
  taken = jnp.take_along_axis(x[:, prefix:], ids[..., None], axis=1)
  return jnp.concatenate([x[:, :prefix], taken], axis=1)


@pytest.mark.parametrize("chunk", [256, 4])
def test_computing_visible_windows_is_computing_all_and_dropping(chunk):
  pixels, ids = draw()
  weights = jax.random.normal(jax.random.key(4), (3, 15, 32))
  model = encoder(window_chunk=chunk)

  @functools.partial(jax.jit, static_argnums=2)
  def run(params, pixels, is_dropped_later):
    def loss(params, pixels):
      out = tokens(params, pixels, ids, model, is_dropped_later)
      return jnp.sum(out * weights), out

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, pixels)

  found = run(variables(), pixels, False)
  wanted = run(variables(), pixels, True)
  chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-4)
  gradient = found[0][0]["params"]["window_stage"]
  for name in ("window_token", "window_positions"):
    assert jnp.abs(gradient[name]).min() > 1e-3


def test_a_hidden_window_changes_nothing():
  pixels, ids = draw()
  run = jax.jit(
    lambda pixels: tokens(variables(), pixels, ids, encoder(), False)
  )
  hidden = (
    jnp.ones(pixels.shape[:2], bool).at[jnp.arange(3)[:, None], ids].set(False)
  )
  changed = jnp.where(hidden[..., None], 9.0, pixels)
  np.testing.assert_array_equal(run(pixels), run(changed))


def compiled_flops(num_visible: int) -> float:
  """Of the backward pass too, by the compiler, unrolled."""
  pixels = jax.ShapeDtypeStruct((1, num_visible, 192), jnp.float32)
  model = encoder(scan=False)
  ids = jnp.arange(num_visible)[None]

  def loss(params, pixels):
    out = model.apply(params, pixels, model.grid(SIZE), ids, method="tokenize")
    return jnp.sum(out[0] ** 2)

  lowered = jax.jit(jax.grad(loss)).lower(variables(), pixels)
  return lowered.compile().cost_analysis()["flops"]


def test_a_quarter_of_the_windows_costs_a_quarter():
  assert compiled_flops(3) / compiled_flops(12) == pytest.approx(0.25, abs=0.02)


def test_closed_form_counts_the_matrix_products():
  pixels, _ = draw()
  model = encoder(scan=False)
  run = functools.partial(model.apply, method="tokenize")
  grid = model.grid(SIZE)
  traced = jax.make_jaxpr(lambda p, x: run(p, x, grid))(variables(), pixels)
  counted = flops.layer_flops(traced.jaxpr)
  wanted = 3 * (flops.stem_flops(SMALL, 12) + flops.window_flops(SMALL, 12))
  assert counted == wanted


def temporary_bytes(chunk: int) -> int:
  """That the compiled backward pass needs, of many windows."""
  pixels = jax.ShapeDtypeStruct((1, 192, 192), jnp.float32)
  model = encoder(window_chunk=chunk)

  def loss(params, pixels):
    out = model.apply(params, pixels, model.grid((128, 96)), method="tokenize")
    return jnp.sum(out[0] ** 2)

  lowered = jax.jit(jax.grad(loss)).lower(variables(), pixels)
  return lowered.compile().memory_analysis().temp_size_in_bytes


def test_chunks_bound_the_memory():
  assert temporary_bytes(16) < temporary_bytes(192) / 4
