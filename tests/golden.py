"""Weights and inputs by formula, as the golden files were made."""

import json
import math
import pathlib

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"


def rnd(shape: tuple[int, ...], t: int) -> np.ndarray:
  """Pseudo-random float64 numbers in [-1, 1): stream `t`, a hash of the index.

  The 32-bit finaliser of MurmurHash3 over index + 0x9E3779B9 * (t + 1).
  """
  mask = np.uint64(0xFFFFFFFF)
  z = np.arange(math.prod(shape), dtype=np.uint64)
  z = (z + np.uint64(0x9E3779B9 * (t + 1) & 0xFFFFFFFF)) & mask
  z = z ^ (z >> np.uint64(16))
  z = (z * np.uint64(0x85EBCA6B)) & mask
  z = z ^ (z >> np.uint64(13))
  z = (z * np.uint64(0xC2B2AE35)) & mask
  z = z ^ (z >> np.uint64(16))
  return (2 * z.astype(np.float64) / 2**32 - 1).reshape(shape)


_NORMS = (
  "ln1.weight",
  "ln2.weight",
  "q_norm.weight",
  "k_norm.weight",
  ".norm.weight",
)
_TOKENS = ("cls_token", "storage_tokens", "w_cls", "local_pos_embed")


def formula_weights(
  shapes: dict[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
  """Float32 weights for reference keys; LayerScale of order one.

  Args:
    shapes: of every key; without the buffer of RoPE periods.
  """
  weights = {}
  for t, key in enumerate(sorted(shapes)):
    shape = shapes[key]
    v = rnd(shape, t)
    if key.endswith("gamma.weight"):
      v = 0.5 + 0.25 * v
    elif key.endswith(_NORMS):
      v = 1 + 0.25 * v
    elif key.endswith(_TOKENS):
      v = 0.5 * v
    elif key.endswith(".bias"):
      v = 0.1 * v
    else:
      v = v * np.sqrt(3 / math.prod(shape[1:]))
    weights[key] = v.astype(np.float32)
  return weights


def load(name: str) -> dict:
  """A golden file by name, such as "golden_backbone"."""
  return json.loads((DATA / f"{name}.json").read_text())


def array(entry: dict) -> np.ndarray:
  """The array of a golden entry with "shape" and "data"."""
  return np.array(entry["data"], np.float32).reshape(entry["shape"])
