"""What a step holds on a GPU, from its shapes."""

import functools
import os
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.gpus import GPUS, find_gpu
from sapiens2_jax.models.block import BlockStack
from sapiens2_jax.parallel.mesh import abstract_mesh, make_mesh
from sapiens2_jax.planning import compiling, gpu_memory, gpu_plan, liveness
from tests import forking, tiny

# One worker takes all of this file: what it traces is traced once.
pytestmark = pytest.mark.xdist_group("gpu_memory")

# Wide enough for activations to be most of it, and for whole tiles of a TPU.
for layers in (6, 10):
  name = f"small_{layers}"
  ARCHITECTURES[name] = Architecture(name, 256, layers, 4, 1, 1)
SIZE = (
  "model.size=small_6",
  "model.dtype=bfloat16",
  "model.scan=true",
  "data.image_size=(512, 384)",
  "data.local_size=(256, 192)",
  "data.global_batch_size=8",
  "objective.koleo_group_size=2",
)


def load(*overrides, num_devices=1):
  return config_lib.load_config(
    "experiments/pretrain.py:size=toy",
    [*SIZE, *overrides],
    lambda config: validation.validate(config, num_devices),
  )


@pytest.fixture(scope="module")
def block():
  return gpu_memory.measure(load("model.remat=block"), "gpu", 1)


def test_keeping_less_takes_less(block):
  full = gpu_memory.measure(load("model.remat=full"), "gpu", 1)
  assert full.activations < 0.6 * block.activations
  state = ("params", "optimizer", "ema", "batch")
  assert all(getattr(full, x) == getattr(block, x) for x in state)


def test_what_a_block_keeps_is_its_inputs_products_and_residuals(block):
  """Tokens x (input, q, k, v, output, stream, both halves of the SwiGLU)."""
  more = gpu_memory.measure(
    load("model.remat=block", "model.size=small_10"),
    "gpu",
    1,
  )
  # A quarter of 768 patches is seen, local crops have as many.
  student, even = 8 * 6 * (192 + 9), 8 * 6 * (192 + 9 + 1)
  kept = 2 * (student * (2 + 8) + even * (2 + 2 * 0.5)) * 256 + even * 4 * 4
  # Four grouped blocks more; the rest of the program is the same.
  found = more.activations - block.activations
  assert found == pytest.approx(4 * kept, rel=0.01)


def test_devices_share_the_state_and_the_batch(block):
  """Two images and half of the parameters a device, with four of them."""
  config = load("model.remat=block", "mesh.data=2", num_devices=4)
  shared = gpu_memory.measure(config, "gpu", 4)
  for name in ("params", "optimizer", "ema"):
    part = getattr(shared, name) / getattr(block, name)
    assert 0.5 <= part < 0.52  # Vectors are whole everywhere.
  assert shared.batch == pytest.approx(block.batch / 4, rel=0.01)
  assert shared.activations == pytest.approx(block.activations / 4, rel=0.05)


@pytest.mark.parametrize("images", [1, 3])
def test_groups_of_koleo_may_span_devices(images):
  """Neither has a whole group of two on each of eight."""
  config = tiny.load_config(
    *(f"data.global_batch_size={8 * images}", "objective.koleo_group_size=2"),
    num_devices=8,
  )
  found = gpu_memory.measure(config, "gpu", 8)
  pixels = 3 * (2 * 64 * 48 + 4 * 48 * 16)  # uint8; and two numbers.
  assert found.batch == images * (pixels + 2 * 4)


def test_a_mesh_that_cuts_more_is_refused():
  config = load("mesh.tensor=2", num_devices=2)
  with pytest.raises(ValueError, match="mesh.tensor=2: the account of GPUs"):
    gpu_memory.measure(config, "gpu", 2)


def test_a_card_holds_what_it_needs_with_a_margin():
  config = tiny.load_config()
  plan = gpu_plan.make_plan(config, GPUS["l4"], 1)
  assert plan.fits and plan.needed_bytes > plan.memory.total + 2**30
  assert "fits" in "\n".join(gpu_plan.body(plan))
  assert gpu_plan.to_json(plan)["memory_limit"] == GPUS["l4"].memory_bytes


def test_cards_are_found_by_what_jax_calls_them():
  assert find_gpu("NVIDIA H100 80GB HBM3").name == "h100"
  assert find_gpu("NVIDIA L40S").name == "l40s"
  assert find_gpu("NVIDIA L40") is None
  assert find_gpu("cpu") is None


def run(*arguments):
  env = {**os.environ, "XLA_FLAGS": ""}
  return forking.run([sys.executable, *arguments], env, timeout=900)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "give one of --topology (TPUs) and --device (GPUs)"),
    (("--device", "h100", "--num_devices", "0"), "num_devices=0: must be at"),
  ],
)
def test_mistakes_end_with_2(arguments, message):
  config = ("--config", "experiments/pretrain.py:size=toy")
  done = run("-m", "sapiens2_jax.plan", *config, *arguments)
  assert done.returncode == 2 and message in done.stderr
  assert "Traceback" not in done.stderr


def blocks(mesh):
  """The gradient of some blocks as the encoder runs them, and its shapes."""
  stack = BlockStack(
    segments=((4, 4),),
    embed_dim=256,
    num_heads=4,
    hidden_dim=1024,
    layer_scale_init=0.5,
    rope_dtype="float32",
    dtype=jnp.bfloat16,
    scan=True,
    remat="block",
    attention_backend="auto",
    axes=("batch", None),
    has_positions=False,
  )

  def loss(params, x):
    with jax.sharding.use_abstract_mesh(mesh):
      out = stack.apply({"params": params}, x, None, method="body")
    return jnp.sum(out.astype(jnp.float32) ** 2)

  x = jax.ShapeDtypeStruct((32, 256, 256), jnp.bfloat16)
  init = functools.partial(stack.init, method="body")
  params = jax.eval_shape(
    lambda x: nn.unbox(init(jax.random.key(0), x, None)), x
  )
  return jax.grad(loss), params["params"], x


def compile_for_a_tpu() -> None:
  """Prints the compiler's account of `blocks`, bytes."""
  (device,) = compiling.topology_devices("v5p:1x1x1")
  mesh = make_mesh(load().mesh, [device])
  grad, *shapes = blocks(mesh.abstract_mesh)
  sharding = NamedSharding(mesh, PartitionSpec())
  jitted = jax.jit(grad, in_shardings=sharding, out_shardings=sharding)
  stats = jitted.lower(*shapes).compile().memory_analysis()
  print(stats.temp_size_in_bytes + stats.output_size_in_bytes)


@pytest.mark.slow
def test_the_account_agrees_with_the_tpu_compilers():
  pytest.importorskip("libtpu")
  done = run("-c", f"import {__name__} as test; test.compile_for_a_tpu()")
  assert done.returncode == 0, done.stderr
  grad, *shapes = blocks(abstract_mesh(load().mesh, 1, "tpu"))
  counted = liveness.peak(
    jax.make_jaxpr(grad)(*shapes).jaxpr,
    lambda aval, backward: ("all", liveness.size_of(aval)),
  )
  compiled = int(done.stdout.split()[-1])
  assert counted.total() == pytest.approx(compiled, rel=0.15)
