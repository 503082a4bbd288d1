"""Arrays of Orbax checkpoints, read in slices.

Orbax restores whole arrays. Blocks are stacked, so one array of 5b has 7.6 GB;
here one block of it is read at a time, with TensorStore, on which Orbax writes.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from orbax.checkpoint._src.serialization import tensorstore_utils

from data_pipelines.common import remote, storage

# An array up to this is written in one chunk for each device, and read whole.
WHOLE_BYTES = 2**24


# Of requests to a bucket; TensorStore's own 32 last a quarter of an hour, and
# what waits for an answer waits for ever: that it takes from the environment.
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
os.environ.setdefault(
  "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", f"{remote.STALL_SECONDS:.0f}"
)
_RETRIES = {
  "gcs_request_retries": {
    "max_retries": 6,
    "initial_delay": "1s",
    "max_delay": "32s",
  }
}
for context in (
  tensorstore_utils._BASE_TS_CONTEXT,  # Orbax has no option for it.
  tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT,
):
  context.update(_RETRIES)


def new_context() -> ts.Context:
  """What `open_array` keeps of checkpoints: where arrays are, not their values.

  Knows nothing of a checkpoint that is written anew.
  """
  return ts.Context(
    {"cache_pool#index": {"total_bytes_limit": 2**27}, **_RETRIES}
  )


class StoredArray:
  """An array on a disk or in a bucket; an index reads that part of it.

  Attributes:
    shape: of the array.
    dtype: of the array.
    chunks: shape of what is read at least.
  """

  def __init__(self, store: ts.TensorStore, path: str | os.PathLike):
    self._store, self._path = store, path
    self.shape = tuple(store.shape)
    self.dtype = np.dtype(store.dtype.numpy_dtype)
    self.chunks = tuple(store.chunk_layout.read_chunk.shape or ())

  @property
  def nbytes(self) -> int:
    return self._store.size * self.dtype.itemsize

  def __getitem__(self, index: Any) -> np.ndarray:
    with remote.guarded(self._path):
      return self._store[index].read().result()

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.asarray(self[()], dtype)


class MergedArray(StoredArray):
  """A stored array with the product of two thin ones added; see `models.lora`.

  All have the same leading axes. An index reads whole matrices of each.
  """

  def __init__(self, base: StoredArray, a: StoredArray, b: StoredArray):
    self._base, self._a, self._b = base, a, b
    self.shape, self.dtype, self.chunks = base.shape, base.dtype, base.chunks

  @property
  def nbytes(self) -> int:
    return self._base.nbytes

  def __getitem__(self, index: Any) -> np.ndarray:
    index = index if isinstance(index, tuple) else (index,)
    first, *rest = index or (slice(None),)
    base, a, b = (x[first] for x in (self._base, self._a, self._b))
    found = base + a @ b
    rest = (slice(None), *rest) if isinstance(first, slice) else rest
    return found[tuple(rest)]


def stored_tree(path: str | os.PathLike) -> Any:
  """Orbax's metadata of each array of a tree that Orbax wrote.

  Raises:
    ValueError: there is no such tree, or it is damaged.
  """
  path, damage = storage.absolute(path), (AttributeError, KeyError, TypeError)
  try:
    with remote.guarded(path, but=damage):
      return ocp.PyTreeCheckpointer().metadata(path).item_metadata.tree
  except damage as error:
    raise ValueError(f"{path}/_METADATA: missing or damaged") from error


def open_array(
  path: str | os.PathLike, name: str, context: ts.Context
) -> StoredArray:
  """Opens an array of a tree that Orbax wrote; reads no values.

  Args:
    path: directory of the tree, on a disk or in a bucket.
    name: as Orbax's metadata name it.
    context: from `new_context`, for all arrays of a checkpoint.
  """
  base = f"{storage.absolute(path)}/"
  store = {
    "driver": "ocdbt",
    "base": base
    if storage.is_remote(path)
    else {"driver": "file", "path": base},
    "path": f"{name}/",
    "cache_pool": "cache_pool#index",
  }
  # As Orbax does: a part that is missing is an error, not zeros.
  spec = {"driver": "zarr", "kvstore": store, "fill_missing_data_reads": False}
  with remote.guarded(path):
    opened = ts.open(spec, open=True, read=True, context=context).result()
  return StoredArray(opened, path)


def read_through(
  path: str | os.PathLike, part: int = 0, num_parts: int = 1
) -> None:
  """Reads the arrays of a tree that Orbax wrote, chunk by chunk.

  Args:
    path: directory of the tree, on a disk or in a bucket.
    part: reads each `num_parts`-th array, from this one on.
    num_parts: how many readers there are.

  Raises:
    ValueError: an array is damaged in a way that shows, or missing.
  """
  context = new_context()
  for leaf in jax.tree.leaves(stored_tree(path))[part::num_parts]:
    array = open_array(path, leaf.name, context)
    for chunk in _chunks(array):
      array[chunk]


def save_args(tree: Any) -> Any:
  """How Orbax shall write `tree`: large arrays in slices of the first axis.

  Otherwise a chunk is all that a device has of an array, and one block of a
  stack cannot be read without the others.
  """

  def one(x: Any) -> ocp.SaveArgs:
    on_devices = isinstance(x, jax.Array)
    shape = x.sharding.shard_shape(x.shape) if on_devices else x.shape
    is_large = int(np.prod(shape)) * x.dtype.itemsize > WHOLE_BYTES
    # Those of two axes are no stacks of matrices.
    return ocp.SaveArgs(shard_axes=(0,) if is_large and x.ndim > 2 else ())

  return jax.tree.map(one, tree)


def _is_whole(array: Any) -> bool:
  """Whether a slice of a large array cannot be read without the others."""
  return (
    isinstance(array, StoredArray)
    and array.nbytes > WHOLE_BYTES
    and array.chunks[0] > 1
  )


def bytes_to_slice(tree: Any) -> int:
  """What `in_slices` writes."""
  return sum(x.nbytes for x in jax.tree.leaves(tree) if _is_whole(x))


def in_slices(
  tree: Any,
  directory: str | os.PathLike,
  advance: Callable[[int], object] = lambda num_bytes: None,
) -> Any:
  """The same arrays, each slice of which is read alone.

  Large ones that are not stored so are copied to `directory`, small ones are
  read.

  Args:
    tree: of arrays; those that are not on disk stay.
    directory: made if it is needed.
    advance: is told of the bytes that are copied.
  """
  leaves, structure = jax.tree.flatten(tree)
  for number, leaf in enumerate(leaves):
    if _is_whole(leaf):
      leaves[number] = _sliced(
        leaf, os.path.join(directory, str(number)), advance
      )
    elif isinstance(leaf, StoredArray) and leaf.nbytes <= WHOLE_BYTES:
      leaves[number] = np.asarray(leaf)
  return jax.tree.unflatten(structure, leaves)


def _chunks(array: StoredArray) -> Iterator[tuple[slice, ...]]:
  """What is read at once of an array, part by part."""
  starts = map(range, itertools.repeat(0), array.shape, array.chunks)
  for corner in itertools.product(*starts):
    ends = map(lambda at, size: at + size, corner, array.chunks)
    yield tuple(map(slice, corner, map(min, ends, array.shape)))


def _sliced(
  array: StoredArray,
  directory: str,
  advance: Callable[[int], object],
) -> StoredArray:
  """Copies an array to a new directory, in slices of its first axis.

  Takes the memory of one chunk, twice: as it is stored and as it is.
  """
  chunks = (1, *array.chunks[1:])
  # Not waited for: a machine that stops leaves nothing that is needed.
  context = ts.Context({"file_io_sync": False})
  copy = ts.open(
    {
      "driver": "zarr",
      "kvstore": {"driver": "file", "path": f"{os.path.abspath(directory)}/"},
      "metadata": {"chunks": chunks, "compressor": None},
    },
    create=True,
    dtype=ts.dtype(array.dtype.name),
    shape=array.shape,
    context=context,
  ).result()
  for part in _chunks(array):
    values = array[part]
    # Copies one at a time.
    for row, value in enumerate(values, part[0].start):
      copy[(row, *part[1:])].write(value).result()
    advance(values.nbytes)
    del values, value  # Before the next are read.
  return StoredArray(copy, directory)
