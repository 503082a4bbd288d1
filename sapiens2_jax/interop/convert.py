"""Named tensors to a parameter tree, and back, without loss."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.errors import lookup
from sapiens2_jax.interop import head_keys, keys
from sapiens2_jax.interop.copies import in_order
from sapiens2_jax.interop.head_keys import Head
from sapiens2_jax.interop.identify import Identified, identify
from sapiens2_jax.interop.keys import Layout, Slot
from sapiens2_jax.interop.tensors import LazyTensor, Tensors, shorten
from sapiens2_jax.models.rope import bfloat16_periods, float32_periods

DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}


class Stack:
  """One parameter of equal blocks, of which each is read when asked for.

  Attributes:
    shape: (number of blocks, ...).
    dtype: of the array.
  """

  def __init__(self, rows: Sequence[Any]):
    """Takes arrays or what becomes one (`__array__`), equal but in values."""
    self._rows = rows
    self.shape = (len(rows), *rows[0].shape)
    self.dtype = rows[0].dtype

  def __getitem__(self, index: int | tuple[slice, ...]) -> np.ndarray:
    """One block, or a slice of each axis."""
    if isinstance(index, int):
      return np.asarray(self._rows[index])
    first, *rest = index
    parts = [np.asarray(row)[tuple(rest)] for row in self._rows[first]]
    return np.stack(parts)

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    whole = np.empty(self.shape, dtype or self.dtype)
    for place, row in zip(whole, self._rows):
      place[...] = np.asarray(row)
    return whole


def make_tree(slots: Iterable[Slot], open_one: Callable[[Slot], Any]) -> dict:
  """Nested dicts of what `open_one` gives for each slot; blocks as `Stack`."""
  leaves, rows = {}, {}
  for slot in slots:
    if slot.row is None:
      leaves[slot.path] = open_one(slot)
    else:
      rows.setdefault(slot.path, []).append(open_one(slot))
  leaves |= {path: Stack(parts) for path, parts in rows.items()}
  return traverse_util.unflatten_dict(leaves)


def open_params(
  found: Identified, *, origin: str, dtype: str | None = None
) -> dict[str, Any]:
  """The parameters of an `Encoder` or a task model, read when asked for.

  Args:
    found: tensors that are known to be whole.
    origin: file name for messages.
    dtype: of the parameters; None keeps that of the file, and then the
      blocks must agree on it, as they are stacked.

  Returns:
    Nested dicts of `LazyTensor` and `Stack`, of a task model {"encoder": ...,
    "head": ...}.

  Raises:
    ValueError: if the blocks differ in dtype; lists them.
  """
  target = None if dtype is None else lookup(DTYPES, dtype, "dtype")
  if target is None:
    _check_one_dtype(found, origin)

  def open_one(slot: Slot) -> LazyTensor:
    parts = [found.tensors[key] for key in slot.keys(found.style)]
    kind = target or parts[0].dtype

    def load() -> np.ndarray:
      arrays = [part.load() for part in parts]
      array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
      return in_order(slot.entry.layout.to_ours(array), kind)

    return LazyTensor(our_shape(slot.entry.layout, slot.shape), kind, load)

  return make_tree(head_keys.slots(found.architecture, found.head), open_one)


@functools.cache
def our_shape(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
  return layout.to_ours(np.broadcast_to(False, shape)).shape


def params_from_tensors(
  tensors: Tensors, *, origin: str, dtype: str | None = None
) -> tuple[Architecture, Head | None, dict[str, Any]]:
  """Builds the parameters of an `Encoder` or a task model of named tensors.

  Args:
    tensors: in reference or transformers keys.
    origin, dtype: as of `open_params`.

  Returns:
    The architecture; the head, None for an encoder; and the parameters as
    nested dicts of NumPy arrays.

  Raises:
    ValueError: if names, shapes or dtypes do not fit; lists them.
  """
  found = identify(tensors, origin)
  params = open_params(found, origin=origin, dtype=dtype)
  return found.architecture, found.head, jax.tree.map(np.asarray, params)


def _check_one_dtype(found: Identified, origin: str) -> None:
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
  rope_dtype: str | None = None,
) -> dict[str, LazyTensor]:
  """Names the parameters of a model; computes nothing yet.

  Args:
    params: nested dicts of arrays, of what is read when asked for (`Stack`,
      `LazyTensor`, `StoredArray`), or of shapes and dtypes.
    architecture: of the encoder.
    head: of a task model, None for an encoder.
    style: "reference" or "transformers" keys.
    dtype: of the tensors, None for that of the parameters.
    with_periods: adds the buffer that reference files carry, by which
      `identify` tells `rope_dtype`.
    rope_dtype: of the rotations; None for bfloat16, that of the reference.
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
    if rope_dtype == "float32":
      periods = float32_periods(architecture.head_dim).astype(np.float32)
    else:
      periods = bfloat16_periods(architecture.head_dim)
    tensors[head_keys.periods_key(head)] = LazyTensor(
      periods.shape, periods.dtype, lambda: periods
    )
  return tensors


def _part(
  array: Any, slot: Slot, part: int, num_parts: int, dtype: np.dtype
) -> np.ndarray:
  value = np.asarray(array if slot.row is None else array[slot.row])
  value = slot.entry.layout.to_reference(value)
  size = value.shape[0] // num_parts
  return in_order(value[part * size : (part + 1) * size], dtype)


def num_params(params: Mapping[str, Any]) -> int:
  """Numbers in a tree of nested dicts of arrays."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def num_bytes(params: Mapping[str, Any]) -> int:
  """Bytes in a tree of nested dicts of arrays."""
  return sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(params)
  )
