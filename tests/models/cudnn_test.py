"""What is handed to cuDNN, lowered for CUDA on a machine without a GPU."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AxisType, Mesh

from sapiens2_jax.models import block, partition
from sapiens2_jax.models.attention import attention
from sapiens2_jax.parallel import rules

_CALL = re.compile(
  r'custom_call @__cudnn\$(\w+)\((.*?)\) \{.*?backend_config = "(.*?)", '
  r"operand_layouts.*? : \((.*?)\) ->"
)


@pytest.fixture(autouse=True)
def _compile_for_a_gpu(monkeypatch):
  monkeypatch.setattr(partition, "platform", lambda: "gpu")
  # JAX asks the CUDA plugin for it, before it lowers anything.
  monkeypatch.setattr(
    fused_attention_stablehlo, "check_cudnn_version", lambda: 91800
  )


def lower(head_dim, tokens, num_keys=None, policy="none", mesh=None):
  """The cuDNN calls of a gradient: (name, settings, shapes of operands)."""
  q, k = (
    jax.ShapeDtypeStruct((2, heads, head_dim, tokens), jnp.bfloat16)
    for heads in (4, 2)
  )

  def attend(q, k, v):
    return attention(q, k, v, num_keys=num_keys)

  def loss(q, k, v):
    run = attend
    if policy != "none":
      run = jax.checkpoint(attend, policy=block.REMAT_POLICIES[policy])
    return jnp.sum(run(q, k, v).astype(jnp.float32) ** 2)

  grad = jax.grad(loss, argnums=(0, 1, 2))
  if mesh is not None:
    logical = (("batch", ("data",)), ("heads", ("tensor",)), ("tokens", ()))
    inner = grad

    def grad(*arrays):
      with rules.logical_constraints(mesh, logical):
        return inner(*arrays)

  lowered = jax.jit(grad).trace(q, k, k).lower(lowering_platforms=("cuda",))
  calls = []
  for name, _, config, shapes in _CALL.findall(lowered.as_text()):
    settings = json.loads(config.replace(r"\22", '"'))
    shapes = re.findall(r"tensor<([^>]*)>", shapes)
    calls.append((name, settings["cudnn_fmha_backend_config"], shapes))
  return calls


# Heads of 0.1b-1b, 5b and 0.8b; student and teacher at 1024 x 768.
@pytest.mark.parametrize("head_dim", [64, 76, 80])
@pytest.mark.parametrize("tokens", [777, 3081])
def test_odd_lengths_and_all_head_widths_become_calls_of_cudnn(
  head_dim, tokens
):
  (forward, backward) = lower(head_dim, tokens)
  assert forward[0] == "fmhaSoftmax" and backward[0] == "fmhaSoftmaxBackward"
  width = {64: 64, 76: 80, 80: 80}[head_dim]
  for _, settings, shapes in (forward, backward):
    # One token more than there are, which the lengths leave out.
    assert settings["mask_type"] == "PADDING"
    assert settings["fmha_scale"] == 1.0  # The queries are scaled already.
    assert settings["is_flash_attention"]
    assert shapes[:3] == [
      f"2x{tokens + 1}x{heads}x{width}xbf16" for heads in (4, 2, 2)
    ]
    assert shapes[-2:] == ["2xi32", "2xi32"]


def test_an_even_length_needs_no_mask():
  for _, settings, shapes in lower(128, 3072):
    assert settings["mask_type"] == "NO_MASK"
    assert shapes[0] == "2x3072x4x128xbf16" and "2xi32" not in shapes


def test_keys_that_do_not_count_are_left_out():
  for _, settings, shapes in lower(64, 256, num_keys=200):
    assert settings["mask_type"] == "PADDING" and "2xi32" in shapes


@pytest.mark.parametrize(
  ("policy", "forward"), [("block", 1), ("offload", 1), ("full", 2)]
)
def test_policies_that_keep_residuals_run_the_kernel_once(policy, forward):
  names = [name for name, _, _ in lower(76, 777, policy=policy)]
  assert names.count("fmhaSoftmax") == forward
  assert names.count("fmhaSoftmaxBackward") == 1


def test_each_device_calls_it_for_its_part():
  devices = np.array(jax.devices()[:4]).reshape(2, 2)
  mesh = Mesh(devices, ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)
  forward, _ = lower(64, 777, mesh=mesh)
  assert forward[2][:2] == ["1x778x2x64xbf16", "1x778x1x64xbf16"]


def test_few_queries_need_no_kernel():
  assert lower(64, 1) == []
