"""Heads: outputs of the reference on formula weights, shapes, sizes."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from flax.traverse_util import unflatten_dict
from jax import lax

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.models import heads
from sapiens2_jax.models.heads import DeconvHead, PixelShuffleHead
from tests import golden
from tests.head_sizes import num_params

SHUFFLE = {"upsample_channels": (32, 24, 16, 8), "conv_channels": (8, 8, 8)}
HEADS = {
  "pose": DeconvHead("heatmaps", 308, (32, 24), (16, 16, 16)),
  "seg": DeconvHead("logits", 29, (32, 24, 16, 8), (8, 8), "uniform"),
  "normal": PixelShuffleHead("normal", 3, **SHUFFLE),
  "albedo": PixelShuffleHead("albedo", 3, norm="rms", **SHUFFLE),
  "pointmap": PixelShuffleHead(
    "pointmap",
    3,
    **SHUFFLE,
    scale_channels=(32, 16, 8),
    scale_hidden=(16, 8),
  ),
}
# Reference key -> ours; layers come in threes (convolution, norm, SiLU).
NAMES = (
  (r"(deconv|conv|scale_conv)_layers\.(\d+)", lambda m: (m[1], int(m[2]) // 3)),
  (r"upsample_blocks\.(\d+)\.\d", lambda m: ("upsample", int(m[1]))),
  (r"scale_final_layer\.(\d)", lambda m: ("scale_dense", int(m[1]) // 2)),
)


def our_path(key):
  layer = key.rsplit(".", 1)[0].removesuffix(".norm")
  path = ["input"] if layer.startswith("input_conv") else ["predict"]
  for pattern, name in NAMES:
    if match := re.fullmatch(pattern, layer):
      path = ["{}_{}".format(*name(match))]
  if key.endswith(".norm.weight"):
    return (*path, "norm", "norm", "scale")
  if not path[0].startswith("scale_dense"):
    path.append("conv")
  return (*path, "bias" if key.endswith("bias") else "kernel")


def our_layout(key, weight):
  if weight.ndim == 2:
    return weight.T
  if weight.ndim < 4:
    return weight
  if key.startswith("deconv"):
    return weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
  return weight.transpose(2, 3, 1, 0)


@functools.cache
def run(name):
  entry = golden.load("golden_heads")[name]
  weights = golden.formula_weights({k: tuple(s) for k, s in entry["keys"]})
  params = unflatten_dict(
    {our_path(key): our_layout(key, w) for key, w in weights.items()}
  )
  feature = golden.rnd(tuple(entry["feature"]["shape"]), 2000)
  feature = feature.astype(np.float32).transpose(0, 2, 3, 1)
  apply = jax.jit(HEADS[name].apply)
  return entry, apply({"params": params}, feature), params, feature


@pytest.mark.parametrize("name", HEADS)
def test_output_is_that_of_the_reference(name):
  entry, outputs, params, feature = run(name)
  found = np.asarray(outputs[HEADS[name].output_name]).transpose(0, 3, 1, 2)
  assert list(found.shape) == entry["output_stats"]["shape"]
  stats = entry["output_stats"]
  assert abs(np.abs(found).mean() - stats["mean_abs"]) < 1e-5
  sub = entry["output_sub"]
  steps = [int(s or 1) for s in re.findall(r":+(\d*)", sub["index"])]
  found = found[tuple(slice(None, None, step) for step in steps)]
  # Rounding alone: float32 summed in another order.
  np.testing.assert_allclose(found, golden.array(sub), atol=2e-5)
  if "scale" in entry:
    expected = golden.array(entry["scale"])[:, 0]
    np.testing.assert_allclose(outputs["scale"], expected, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_golden_weights_fill_every_parameter(name):
  _, _, params, feature = run(name)
  made = jax.eval_shape(HEADS[name].init, jax.random.key(0), feature)["params"]
  made = meta.unbox(made)
  assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, params)


def test_pixel_shuffle_moves_channels_to_their_pixels():
  x = np.arange(2 * 3 * 8).reshape(1, 2, 3, 8)
  found = np.asarray(heads.pixel_shuffle(jnp.asarray(x, jnp.float32)))
  assert found.shape == (1, 4, 6, 2)
  for c, i, j in np.ndindex(2, 2, 2):
    np.testing.assert_array_equal(
      found[0, i::2, j::2, c], x[0, ..., 4 * c + 2 * i + j]
    )


def test_half_precision_gives_float32_near_the_exact_output():
  entry, exact, params, feature = run("pointmap")
  head = HEADS["pointmap"].clone(dtype=jnp.bfloat16)
  found = jax.jit(head.apply)({"params": params}, feature)
  for name, value in found.items():
    assert value.dtype == jnp.float32
    error = np.abs(value - exact[name]).mean() / np.abs(exact[name]).mean()
    assert error < 0.05


def test_sigmoid_keeps_outputs_between_zero_and_one():
  head = PixelShuffleHead("matte", 4, (8, 8), (8,), use_sigmoid=True)
  features = jax.random.normal(jax.random.key(0), (2, 3, 5, 16))
  outputs, _ = head.init_with_output(jax.random.key(1), features)
  assert outputs["matte"].shape == (2, 12, 20, 4)
  assert 0 < outputs["matte"].min() < outputs["matte"].max() < 1


def shuffle(normal=(), **more):
  wide, narrow = (768, 512, 256, 128), (64, 32, 16)
  upsample, conv = normal or (wide, narrow)
  return lambda: PixelShuffleHead("map", 3, upsample, conv, **more)


def point(upsample, conv=(64, 32, 16)):
  return shuffle(
    (upsample, conv), scale_channels=(1536, 512, 128), scale_hidden=(512, 128)
  )


def pose(upsample, conv):
  return lambda: DeconvHead("heatmaps", 308, upsample, conv)


def segmentation():
  return DeconvHead("logits", 29, (512, 256, 128, 64), (64, 64))


POSE = pose((1024, 768), (512, 512, 256))
LARGE = (1536, 768, 512, 256)
SIZES = ("0.4b", "0.8b", "1b", "5b")
# Published parameter counts of the heads on 64 x 48 features.
COUNTS = {
  "pose": (
    (POSE, POSE, pose((1536, 1024), (768, 512, 256)), POSE),
    (30226996, 34421300, 64305972, 53295668),
  ),
  "segmentation": (
    (segmentation,) * 4,
    (11151325, 13248477, 15345629, 22685661),
  ),
  "normal": (
    (shuffle(),) * 3 + (shuffle((LARGE, (128, 64, 32))),),
    (57907363, 70293923, 83860131, 249455299),
  ),
  "pointmap": (
    (point((1536, 768, 512, 256)),) * 3
    + (point((1536, 768, 768, 768), (128, 64, 32)),),
    (133224996, 153082660, 174119972, 281442884),
  ),
  "albedo": (
    (shuffle(norm="rms"),) * 3 + (shuffle((LARGE, (64, 32, 16)), norm="rms"),),
    (57910163, 70296979, 83863443, 249244179),
  ),
}


@pytest.mark.parametrize("task", COUNTS)
def test_parameter_counts_are_the_published_ones(task):
  made, counts = COUNTS[task]
  for size, head, count in zip(SIZES, made, counts):
    features = (64, 48, ARCHITECTURES[size].embed_dim)
    assert num_params(head(), features) == count, size


@pytest.mark.parametrize(
  ("init", "std"), [("kaiming", (2 / (16 * 24)) ** 0.5), ("uniform", 0.0295)]
)
def test_deconvolutions_start_as_those_of_the_reference(init, std):
  head = DeconvHead("map", 3, (24,), (), init)
  params = head.init(jax.random.key(0), jnp.zeros((1, 4, 3, 24)))["params"]
  kernel = meta.unbox(params)["deconv_0"]["conv"]["kernel"]
  if init == "uniform":
    assert np.abs(kernel).max() <= (24 * 16) ** -0.5
  np.testing.assert_allclose(kernel.std(), std, rtol=0.03)


@pytest.mark.parametrize("shape", [(2, 5, 3, 6), (1, 1, 4, 2)])
def test_a_transposed_convolution_is_that_of_jax(shape):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal(shape, np.float32))
  kernel = jnp.asarray(rng.standard_normal((4, 4, shape[-1], 7), np.float32))
  deconv = heads.TransposedConv(7, nn.initializers.zeros)
  found = deconv.apply({"params": {"kernel": kernel}}, x)
  expected = lax.conv_transpose(x, kernel, (2, 2), ((2, 2), (2, 2)))
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_parameters_start_as_those_of_the_reference():
  head = PixelShuffleHead(
    "map", 3, (64,), (16,), scale_channels=(16,), scale_hidden=(64,)
  )
  params = head.init(jax.random.key(0), jnp.zeros((1, 8, 6, 32)))["params"]
  params = meta.unbox(params)
  expected = {
    ("upsample_0", "conv"): (2 / (256 * 9)) ** 0.5,
    ("scale_conv_0", "conv"): (2 / 16) ** 0.5,
    ("scale_dense_0",): (1 / (4 * 3 * 16)) ** 0.5,
  }
  for path, std in expected.items():
    layer = functools.reduce(lambda tree, name: tree[name], path, params)
    np.testing.assert_allclose(layer["kernel"].std(), std, rtol=0.1)
    assert not layer["bias"].any()


def test_only_wide_kernels_are_cut():
  head = PixelShuffleHead("map", 3, (256, 32), (16,))
  tree = jax.eval_shape(
    head.init, jax.random.key(0), jnp.zeros((1, 2, 3, 256))
  )["params"]
  names = lambda layer: tree[layer]["conv"]["kernel"].names  # noqa: E731
  assert names("upsample_0") == (None, None, "embed", "mlp")
  assert names("conv_0") == (None, None, None, None)


@pytest.mark.parametrize(
  ("head", "message"),
  [
    (DeconvHead("map", 3, (8,), (), "kaimin"), "did you mean kaiming"),
    (PixelShuffleHead("map", 3, (8,), (), "batch"), "unknown head.norm"),
    (
      PixelShuffleHead("map", 3, (8,), (), scale_channels=(8, 8, 8)),
      "single pixel",
    ),
  ],
)
def test_what_cannot_work_is_refused(head, message):
  with pytest.raises(ValueError, match=message):
    head.init(jax.random.key(0), jnp.zeros((1, 4, 3, 8)))
