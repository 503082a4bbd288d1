"""Small encoders with every parameter of order one, as named tensors."""

import json

import ml_dtypes
import numpy as np
from flax import traverse_util

from sapiens2_jax.architectures import ARCHITECTURES, custom_architecture
from sapiens2_jax.interop import keys
from sapiens2_jax.interop.tensors import LazyTensor, write_safetensors
from sapiens2_jax.models.rope import bfloat16_periods
from tests import golden

# As the golden files: blocks 8 and 9 have two key/value heads.
TINY = custom_architecture(64, 18, 4)
TINY_4K = custom_architecture(64, 18, 4, window_size=4, num_window_layers=2)
TOY = ARCHITECTURES["toy"]


def shapes(arch, style="reference"):
  return {
    key: shape
    for slot in keys.slots(arch)
    for key, shape in slot.keys(style).items()
  }


def arrays(arch, style="reference", dtype=np.float32, periods=False):
  """Formula weights by key; keys of transformers hold the same values."""
  found = golden.formula_weights(shapes(arch))
  if style == "transformers":
    named = {}
    for slot in keys.slots(arch):
      (key,) = slot.keys("reference")
      names = list(slot.keys("transformers"))
      named.update(zip(names, np.split(found[key], len(names))))
    found = named
  found = {key: x.astype(dtype) for key, x in found.items()}
  if periods:
    found[keys.PERIODS_KEY] = bfloat16_periods(arch.head_dim)
  return found


def lazy(named):
  return {
    key: LazyTensor(x.shape, x.dtype, lambda x=x: x) for key, x in named.items()
  }


def write(path, named):
  path.parent.mkdir(parents=True, exist_ok=True)
  write_safetensors(path, lazy(named), {"format": "pt"})
  return path


def write_shards(directory, named, num_shards=3):
  names = sorted(named)
  weight_map = {}
  for i in range(num_shards):
    part = f"model-{i + 1:05}-of-{num_shards:05}.safetensors"
    write(directory / part, {k: named[k] for k in names[i::num_shards]})
    weight_map.update({k: part for k in names[i::num_shards]})
  index = directory / "model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
  return directory


def assert_same_bytes(a, b):
  assert sorted(a) == sorted(b)
  for key in a:
    assert a[key].dtype == b[key].dtype, key
    assert a[key].shape == b[key].shape, key
    assert a[key].tobytes() == b[key].tobytes(), key


FLOATS = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def assert_same_tree(a, b):
  """Trees of arrays that are equal bit for bit."""
  first, second = traverse_util.flatten_dict(a), traverse_util.flatten_dict(b)
  assert_same_bytes(
    *(
      {"/".join(path): np.asarray(x) for path, x in flat.items()}
      for flat in (first, second)
    )
  )
