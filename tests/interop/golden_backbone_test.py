"""Outputs of the reference on formula weights, through our import path.

The tiny architecture has 18 blocks, two of them with grouped heads, and every
LayerScale is of order one, so that a mistake anywhere shows.
"""

import functools

import jax
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import keys
from sapiens2_jax.interop.load import load_pretrained
from tests import golden
from tests.interop import samples

# Rounding alone: float32 summed in another order, through 18 blocks.
FLOAT32_TOLERANCE = 2e-5
# Rounding q and k to bfloat16 is a step function: the reference itself moves
# by 4.8e-3 when its input is scaled by 1 + 3e-7. A wrong table or a forgotten
# rounding moves it by 5e-2 and more.
BFLOAT16_TOLERANCE = 6e-3


KINDS = {"plain": samples.TINY, "tokenizer": samples.TINY_4K}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
  folder = tmp_path_factory.mktemp("golden")
  return {
    kind: samples.write(
      folder / f"{kind}.safetensors", samples.arrays(arch, periods=True)
    )
    for kind, arch in KINDS.items()
  }


@pytest.fixture
def path(paths):
  return paths["plain"]


@functools.cache
def _goldens():
  return golden.load("golden_backbone")


def _images(kind="plain"):
  spec = _goldens()[f"{kind}_fp32rope_raw"]["input"]
  x = spec["scale"] * golden.rnd(tuple(spec["shape"]), spec["seed"])
  return x.astype(np.float32).transpose(0, 2, 3, 1)


def _difference(paths, rope_dtype, scan, name, window_chunk=256):
  kind = name.split("_")[0]
  encoder, params = load_pretrained(paths[kind], rope_dtype=rope_dtype)
  encoder = encoder.clone(scan=scan, window_chunk=window_chunk)
  out = jax.jit(encoder.apply)({"params": params}, _images(kind))
  assert out.patches.shape == (2, 4, 3, 64)
  patches = out.patches.reshape(2, 12, 64)
  found = np.concatenate([out.cls[:, None], out.registers, patches], axis=1)
  return np.abs(found - golden.array(_goldens()[name]["output"]))


@pytest.mark.parametrize("kind", KINDS)
def test_keys_sort_as_those_of_the_reference(kind):
  entry = _goldens()[f"{kind}_fp32rope_raw"]
  found = sorted(samples.shapes(KINDS[kind]))
  assert len(found) == entry["num_keys"]
  assert found[: len(entry["first_keys"])] == entry["first_keys"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scan", [True, False])
def test_float32_rope_gives_the_reference_output(paths, scan, kind):
  difference = _difference(paths, "float32", scan, f"{kind}_fp32rope_raw")
  assert difference.max() < FLOAT32_TOLERANCE


def test_windows_may_be_computed_in_parts(paths):
  name = "tokenizer_fp32rope_raw"
  difference = _difference(paths, "float32", True, name, window_chunk=5)
  assert difference.max() < FLOAT32_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scan", [True, False])
def test_bfloat16_rope_gives_the_reference_output(paths, scan, kind):
  difference = _difference(paths, "bfloat16", scan, f"{kind}_bf16rope_raw")
  assert difference.max() < BFLOAT16_TOLERANCE
  assert difference.mean() < BFLOAT16_TOLERANCE / 10


def test_the_two_rope_modes_are_told_apart(paths):
  difference = _difference(paths, "float32", True, "plain_bf16rope_raw")
  assert difference.max() > 2 * BFLOAT16_TOLERANCE


def test_hidden_gives_the_stream_before_the_final_norm(path):
  # Unrolled, whatever `scan` is.
  encoder, params = load_pretrained(path, rope_dtype="float32")
  forward = functools.partial(encoder.apply, layers=(7,), method="hidden")
  (tokens,) = jax.jit(forward)({"params": params}, _images())
  prefix = encoder.architecture.num_prefix_tokens
  found = np.asarray(tokens)[:, prefix:].reshape(2, 4, 3, 64)
  expected = golden.array(_goldens()["plain_fp32rope_featmap_block7"])
  np.testing.assert_allclose(
    found.transpose(0, 3, 1, 2), expected, rtol=0, atol=FLOAT32_TOLERANCE
  )


# As published with the release.
PERIODS = {
  "0.1b": (
    *(1, 1.3359375, 1.78125, 2.375, 3.15625, 4.21875, 5.625, 7.5),
    *(10, 13.3125, 17.75, 23.75, 31.625, 42.25, 56.25, 75),
  ),
  "5b": (
    *(1, 1.2734375, 1.625, 2.078125, 2.640625, 3.375, 4.28125, 5.46875),
    *(6.96875, 8.875, 11.3125, 14.3125, 18.375, 23.25, 30, 37.75, 48.75),
    *(61.5, 79),
  ),
}


@pytest.mark.parametrize("size", PERIODS)
def test_exported_periods_are_the_released_ones(size):
  from sapiens2_jax.models.rope import bfloat16_periods

  periods = bfloat16_periods(ARCHITECTURES[size].head_dim)
  assert tuple(map(float, periods)) == PERIODS[size]
  assert keys.PERIODS_KEY == "rope_embed.periods"
