"""The closed form against what XLA counts in the same computation."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.training import flops
from tests import tiny, tiny_task


def counted(function, *args) -> float:
  return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


def test_forward_flops_agree_with_the_compilers_count():
  config = tiny.load_config("model.scan=false")
  objective = tiny.build_objective(config)
  shapes = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  batches = jax.tree.map(jnp.asarray, tiny.make_batches(config))
  batch = jax.tree.map(lambda x: x[0], batches)
  images = config.data.global_batch_size

  def teacher(params):
    outputs = objective._teacher_outputs(params, batch, jax.random.key(0))
    return objective.terms["cl"].project(outputs, {}, jnp.int32(0))

  arch = objective.encoder.architecture
  head = 2 * (48 * 32 + 32 * 32 + 32 * 16 + 16 * 32)
  expected = images * 2 * (flops.encoder_flops(arch, 12, 1) + head)
  # The compiler also counts norms, softmax and pixels.
  np.testing.assert_allclose(counted(teacher, shapes), expected, rtol=0.25)
  assert counted(teacher, shapes) > expected


def test_a_block_is_its_matrices_and_its_attention():
  d, heads, tokens = 512, 8, 64
  total = flops.block_flops(d, heads, heads, tokens, tokens)
  linear = 2 * tokens * (4 * d * d + 12 * d * d)
  attention = 2 * 2 * heads * tokens * tokens * (d // heads)
  assert total == linear + attention
  fewer = flops.block_flops(d, heads, heads // 2, tokens, tokens)
  assert total - fewer == 2 * tokens * d * d  # half of k and of v


def test_a_step_of_1b_costs_what_its_parts_cost():
  config = tiny.config_lib.load_config(
    "experiments/pretrain.py:size=1b", [], lambda _: []
  )
  total = tiny.build_objective(config).flops()
  # 6 and 2 FLOPs a parameter and token: student 6 x 777, teacher 2 x 3081.
  rough = 1.455e9 * (6 * 6 * 777 + 2 * 2 * 3081)
  assert 1.0 < total / rough < 1.35


def test_a_step_of_a_task_is_encoder_and_head_there_and_back():
  config = tiny_task.load_config()
  arch = tiny.build_objective(config).encoder.architecture
  patches, tokens = 12, 12 + arch.num_prefix_tokens
  encoder = flops.stem_flops(arch, patches) + sum(
    flops.block_flops(arch.embed_dim, arch.num_heads, kv, tokens, tokens)
    for kv in arch.num_kv_heads
  )
  # A 3x3 convolution; a transposed one, of whose 16 taps 4 meet no zero, to 48
  # pixels; a 1x1 one there.
  head = 2 * (12 * 9 * 48 * 16 + 48 * 4 * 16 * 8 + 48 * 8)
  expected = 3 * (encoder + head) - flops.stem_flops(arch, patches)
  assert tiny.build_objective(config).flops() == expected


def test_head_flops_agree_with_the_compilers_count():
  objective = tiny.build_objective(tiny_task.load_config())
  shapes = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  features = jax.ShapeDtypeStruct((1, 64, 48, 48), jnp.float32)
  traced = jax.make_jaxpr(objective.head.apply)(
    {"params": shapes["head"]}, features
  )
  found = counted(objective.head.apply, {"params": shapes["head"]}, features)
  # The compiler leaves out the padding, and counts activations.
  np.testing.assert_allclose(flops.layer_flops(traced.jaxpr), found, rtol=0.05)


@pytest.mark.parametrize(
  ("kind", "peak"),
  [("TPU v5p", 459e12), ("NVIDIA L40S", 362.05e12), ("cpu", None)],
)
def test_the_peak_is_that_of_all_devices(monkeypatch, kind, peak):
  devices = [types.SimpleNamespace(device_kind=kind)] * 8
  monkeypatch.setattr(jax, "devices", lambda: devices)
  assert flops.peak_flops() == (peak and 8 * peak)
