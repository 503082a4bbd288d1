"""Named tensors to a parameter tree, and back, without loss."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.errors import lookup
from sapiens2_jax.interop import head_keys, keys
from sapiens2_jax.interop.head_keys import Head
from sapiens2_jax.interop.identify import identify
from sapiens2_jax.interop.tensors import LazyTensor, Tensors, shorten
from sapiens2_jax.models.rope import bfloat16_periods

DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}


def params_from_tensors(
  tensors: Tensors, *, origin: str, dtype: str | None = None
) -> tuple[Architecture, Head | None, dict[str, Any]]:
  """Builds the parameters of an `Encoder` or a task model of named tensors.

  Args:
    tensors: in reference or transformers keys.
    origin: file name for messages.
    dtype: of the parameters; None keeps that of the file, and then the
      blocks must agree on it, as they are stacked.

  Returns:
    The architecture; the head, None for an encoder; and nested dicts of NumPy
    arrays, of a task model {"encoder": ..., "head": ...}.

  Raises:
    ValueError: if names, shapes or dtypes do not fit; lists them.
  """
  target = None if dtype is None else lookup(DTYPES, dtype, "dtype")
  found = identify(tensors, origin)
  if target is None:
    _check_one_dtype(found, origin)
  params: dict[str, Any] = {}
  for slot in head_keys.slots(found.architecture, found.head):
    parts = [found.tensors[key].load() for key in slot.keys(found.style)]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    array = slot.entry.layout.to_ours(array)
    *parents, leaf = slot.path
    node = params
    for name in parents:
      node = node.setdefault(name, {})
    if slot.row is None:
      node[leaf] = np.array(array, target or array.dtype, order="C")
      continue
    if leaf not in node:
      shape = (slot.num_rows, *array.shape)
      node[leaf] = np.empty(shape, target or array.dtype)
    node[leaf][slot.row] = array
  return found.architecture, found.head, params


def _check_one_dtype(found, origin: str) -> None:
  first, mixed = {}, []
  for slot in head_keys.slots(found.architecture, found.head):
    for key in slot.keys(found.style):
      dtype = found.tensors[key].dtype
      if first.setdefault(slot.path, dtype) != dtype:
        mixed.append(f"{key} {dtype}, others {first[slot.path]}")
  if mixed:
    raise ValueError(
      f"{origin}: blocks differ in dtype ({len(mixed)}): {shorten(mixed)}"
    )


def tensors_from_params(
  params: Mapping[str, Any],
  architecture: Architecture,
  head: Head | None = None,
  *,
  style: str = "reference",
  dtype: str | None = None,
  with_periods: bool = True,
) -> dict[str, LazyTensor]:
  """Names the parameters of a model; computes nothing yet.

  Args:
    params: nested dicts of arrays, or of their shapes and dtypes.
    architecture: of the encoder.
    head: of a task model, None for an encoder.
    style: "reference" or "transformers" keys.
    dtype: of the tensors, None for that of the parameters.
    with_periods: adds the buffer that reference files carry, in bfloat16.
  """
  if style not in keys.STYLES:
    raise ValueError(f"style={style!r} must be one of {keys.STYLES}.")
  target = None if dtype is None else lookup(DTYPES, dtype, "dtype")
  tensors = {}
  for slot in head_keys.slots(architecture, head):
    array = params
    for name in slot.path:
      array = array[name]
    names = slot.keys(style)
    for part, (key, shape) in enumerate(names.items()):
      kind = target or np.dtype(array.dtype)
      load = functools.partial(_part, array, slot, part, len(names), kind)
      tensors[key] = LazyTensor(shape, kind, load)
  if with_periods:
    periods = bfloat16_periods(architecture.head_dim)
    tensors[head_keys.periods_key(head)] = LazyTensor(
      periods.shape, periods.dtype, lambda: periods
    )
  return tensors


def _part(
  array, slot: keys.Slot, part: int, num_parts: int, dtype: np.dtype
) -> np.ndarray:
  value = np.asarray(array if slot.row is None else array[slot.row])
  value = slot.entry.layout.to_reference(value)
  size = value.shape[0] // num_parts
  return np.ascontiguousarray(value[part * size : (part + 1) * size], dtype)


def num_params(params: Mapping[str, Any]) -> int:
  """Numbers in a tree of nested dicts of arrays."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
