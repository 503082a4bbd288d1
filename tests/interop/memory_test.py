"""Conversions hold a few blocks, whatever the size of the model."""

import subprocess
import sys

# The file has 0.2 GB: 24 blocks of 8 MB.
PROGRAM = """
import pathlib, sys
import jax
jax.config.update("jax_platforms", "cpu")
import numpy as np
from data_pipelines.common import memory
from sapiens2_jax.architectures import custom_architecture
from sapiens2_jax.interop import convert, exports, keys, weights
from sapiens2_jax.interop.tensors import LazyTensor

memory.keep_freed_memory(shared=True)
root = pathlib.Path(sys.argv[1])


def peak():
  status = pathlib.Path("/proc/self/status").read_text()
  return int(status.split("VmHWM:")[1].split()[0]) * 1024


def make(arch):
  def open_one(slot):
    shape = convert.our_shape(slot.entry.layout, slot.shape)
    value = np.float32(slot.row or 0)
    return LazyTensor(
      shape, np.dtype("float32"), lambda: np.full(shape, value, np.float32)
    )

  params = convert.make_tree(keys.slots(arch), open_one)
  return weights.Weights(arch, params)


def export(found, loaded, name):
  request = exports.make_request(found, "transformers", None)
  exports.write_export(str(root / name), found, loaded, request)
  return weights.find_weights(root / name)


def convert_both_ways(arch):
  made = weights.Found("tensors", str(root), None, None, "made")
  found = export(made, make(arch), "exported")
  loaded = weights.read_weights(found)
  weights.write_import(str(root / "imported"), loaded, found)
  found = weights.find_weights(root / "imported")
  export(found, weights.read_weights(found), "again")


# What libraries take once.
convert_both_ways(custom_architecture(384, 1, 6, 1, 0))
before = peak()
convert_both_ways(custom_architecture(384, 24, 6))
file = root / "exported" / "model.safetensors"
print((peak() - before) / 2**20, file.stat().st_size / 2**20)
assert file.read_bytes() == (root / "again" / file.name).read_bytes()
"""


def test_peak_memory_is_a_fraction_of_the_file(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  grown, size = map(float, done.stdout.split())
  assert size > 200
  assert grown < size / 3
