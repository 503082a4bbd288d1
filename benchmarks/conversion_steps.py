"""Steps of conversion.py, each a process of its own, whose memory is its own.

The last line that a step prints is JSON. Weights and images are random, norms
and LayerScale of order one, so that every block matters.
"""

import json
import pathlib
import sys

import numpy as np

SIZE = (256, 192)  # of images, pixels


def fill(slot, shape: tuple[int, ...], dtype) -> np.ndarray:
  """Values of one parameter in one block, from its name alone."""
  import zlib

  name = "/".join((*slot.path, str(slot.row)))
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  x = rng.random(shape, np.float32)
  if slot.path[-1] in ("scale", "gamma"):
    return (0.5 + x).astype(dtype)
  x -= 0.5
  x *= 0.3 if slot.path[-1] in ("bias", "b12") else 0.07
  return x.astype(dtype)


def write(size: str, dtype: str, shard_gb: str, output: str) -> None:
  """Exports weights that are made one by one."""
  from sapiens2_jax.architectures import get_architecture
  from sapiens2_jax.interop import convert, exports, keys
  from sapiens2_jax.interop.tensors import LazyTensor
  from sapiens2_jax.interop.weights import Found, Weights

  kind = convert.DTYPES[dtype]

  def open_one(slot) -> LazyTensor:
    shape = convert.our_shape(slot.entry.layout, slot.shape)
    return LazyTensor(shape, kind, lambda: fill(slot, shape, kind))

  arch = get_architecture(size)
  weights = Weights(arch, convert.make_tree(keys.slots(arch), open_one))
  found = Found("tensors", output, None, None, "random")
  request = exports.make_request(found, "transformers", None)
  shard_bytes = int(float(shard_gb) * 1e9)
  exports.write_export(output, found, weights, request, shard_bytes)


def compare(first: str, second: str) -> None:
  """Says how many tensors are equal bit for bit; fails unless all are."""
  from sapiens2_jax.interop.tensors import open_tensors

  ours, theirs = open_tensors(first), open_tensors(second)
  if set(ours) != set(theirs):
    sys.exit(f"other names: {sorted(set(ours) ^ set(theirs))}")
  for name, tensor in ours.items():
    a, b = tensor.load(), theirs[name].load()
    if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
      sys.exit(f"{name} differs")
  print(len(ours))


def layer(directory: str) -> None:
  """One block in transformers and in ours, from the exported files."""
  import jax
  import jax.numpy as jnp
  import torch
  import transformers
  from safetensors import safe_open
  from transformers.models.sapiens2 import modeling_sapiens2 as theirs

  from sapiens2_jax.interop import keys
  from sapiens2_jax.interop.tensors import open_tensors
  from sapiens2_jax.interop.weights import find_weights, read_weights
  from sapiens2_jax.models.block import Block
  from sapiens2_jax.models.rope import rope_table

  tensors = open_tensors(directory)
  # Numbers that take no memory: only names and shapes are looked at.
  empty = torch.zeros((), dtype=torch.bfloat16)
  config = transformers.AutoConfig.from_pretrained(directory)
  _, info = transformers.Sapiens2Model.from_pretrained(
    None,
    config=config,
    state_dict={name: empty.expand(x.shape) for name, x in tensors.items()},
    dtype=torch.bfloat16,
    output_loading_info=True,
  )
  unfit = [str(key) for kind in info.values() for key in kind]
  weights = read_weights(find_weights(directory), "float32")
  arch = weights.architecture
  block = arch.num_full_first  # The first with grouped heads.
  slots = [s for s in keys.slots(arch) if s.block == block]

  root = pathlib.Path(directory)
  index = root / "model.safetensors.index.json"
  files = {}
  if index.is_file():
    files = json.loads(index.read_text())["weight_map"]

  def load(slot) -> dict:
    (key,) = slot.keys("reference")
    with safe_open(root / files.get(key, "model.safetensors"), "pt") as file:
      value = file.get_tensor(key).float()
    prefix, theirs = f"model.layer.{block}.", slot.keys("transformers")
    names = [name.removeprefix(prefix) for name in theirs]
    return dict(zip(names, value.chunk(len(names))))

  module = theirs.Sapiens2Layer(config, block).eval()
  named = {name: x for slot in slots for name, x in load(slot).items()}
  module.load_state_dict(named, strict=True)
  grid = (8, 6)
  num_tokens = arch.num_prefix_tokens + grid[0] * grid[1]
  rng = np.random.default_rng(0)
  tokens = rng.standard_normal((1, num_tokens, arch.embed_dim), np.float32)
  rope = theirs.Sapiens2RopePositionEmbedding(config).eval()
  with torch.inference_mode():
    pixels = torch.zeros(1, 3, *(arch.patch_size * side for side in grid))
    found = module(torch.from_numpy(tokens), position_embeddings=rope(pixels))
  params: dict = {}
  for slot in slots:
    node, stack = params, weights.params
    for name in slot.path:
      stack = stack[name]
    *parents, leaf = slot.entry.path
    for name in parents:
      node = node.setdefault(name, {})
    node[leaf] = jnp.asarray(stack[slot.row])
  ours = Block(
    arch.num_heads,
    arch.num_kv_heads[block],
    arch.hidden_dim,
    weights.layer_scale_init,
    "float32",
    jnp.float32,
    "auto",
  )
  rows = rope_table(grid, arch.head_dim, "float32")
  with jax.default_matmul_precision("highest"):
    out = jax.jit(ours.apply)(
      {"params": params}, tokens, rows.with_prefix(arch.num_prefix_tokens)
    )
  difference = float(np.max(np.abs(np.asarray(out) - found.numpy())))
  print(
    json.dumps(
      {
        "block": block,
        "keys_that_do_not_fit": unfit,
        "max_abs_difference": difference,
        "max_abs_output": float(np.max(np.abs(out))),
      }
    )
  )


def forward(framework: str, directory: str, output: str) -> None:
  """Features of one image, all blocks in float32."""
  from sapiens2_jax.interop import parity
  from sapiens2_jax.interop.load import load_pretrained

  if framework == "torch":
    run, keys = parity.torch_forward(directory)
    if any(keys.values()):
      sys.exit(f"keys that do not fit: {keys}")
  else:
    run = parity.jax_forward(*load_pretrained(directory, rope_dtype="float32"))
  rng = np.random.default_rng(1)
  np.savez(output, **run(rng.standard_normal((1, *SIZE, 3), np.float32)))


def outputs(first: str, second: str) -> None:
  """The largest difference of two files of features, and largest value."""
  a, b = np.load(first), np.load(second)
  print(
    json.dumps(
      {
        "size": SIZE,
        "max_abs_difference": max(
          float(np.max(np.abs(a[name] - b[name]))) for name in a
        ),
        "max_abs_output": max(float(np.max(np.abs(a[name]))) for name in a),
      }
    )
  )


def state(chunks: str, imported: str, workdir: str) -> None:
  """Writes the checkpoint of a pretraining run with imported weights."""
  import jax.numpy as jnp

  from sapiens2_jax import config as config_lib
  from sapiens2_jax import validation
  from sapiens2_jax.interop.load import load_pretrained
  from sapiens2_jax.training import stored
  from sapiens2_jax.training.checkpoints import Checkpointer
  from sapiens2_jax.training.state import TrainState

  if chunks == "whole":  # as before arrays were cut
    stored.WHOLE_BYTES = 2**60
  encoder, params = load_pretrained(imported)
  experiment = f"experiments/pretrain.py:size={encoder.architecture.name}"
  config = config_lib.load_config(experiment, [], lambda config: [])
  zero = jnp.zeros((), jnp.int32)
  saved = TrainState(
    step=zero,
    params={"head": {"bias": jnp.zeros(1)}},  # Of the student nothing.
    teacher_state={"teacher": {"encoder": params}},
    opt_state=(),
    rng=jnp.zeros(2, jnp.uint32),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )
  checkpointer = Checkpointer(workdir, config, validation.read_config)
  checkpointer.save(saved, 1, 0)
  checkpointer.close()


if __name__ == "__main__":
  import jax

  jax.config.update("jax_platforms", "cpu")
  made = (write, compare, layer, forward, outputs, state)
  {step.__name__: step for step in made}[sys.argv[1]](*sys.argv[2:])
