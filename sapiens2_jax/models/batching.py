"""Inference in batches of one size, so that it is compiled once."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def in_batches(
  function: Callable[..., Any],
  batch_size: int,
  *arrays: np.ndarray,
  num_rows: int = 0,
) -> Iterator[Any]:
  """Applies a function to `batch_size` rows at a time.

  Args:
    function: takes arrays of `batch_size` rows, returns a tree of such arrays.
    batch_size: rows a call; the last call is filled up with zeros.
    *arrays: of equally many rows.
    num_rows: calls as for so many rows at least: all processes of a job make
      as many as the one that has the most.

  Yields:
    The tree of each call as NumPy arrays, without the filling.
  """
  for start in range(0, max(len(arrays[0]), num_rows), batch_size):
    given = [array[start : start + batch_size] for array in arrays]
    count = len(given[0])
    if missing := batch_size - count:
      given = [
        np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) for x in given
      ]
    outputs = jax.device_get(function(*given))
    yield jax.tree.map(lambda x, n=count: np.asarray(x)[:n], outputs)


def as_they_come(
  function: Callable[..., Any],
  batch_size: int,
  rows: Iterable[np.ndarray],
  empty: np.ndarray,
  gather: Callable[[int], list[int]],
) -> Iterator[Any]:
  """`in_batches` of rows that are made one by one, each when it is needed.

  All processes of a job must call this; one that has no more rows waits with
  the others, in calls of the same program.

  Args:
    function, batch_size: see there.
    rows: arrays of one shape; any number of them.
    empty: no rows of that shape, (0, ...).
    gather: what all processes give, see `gathering.Part`.
  """
  rows, most = iter(rows), batch_size
  while most == batch_size:
    batch = list(itertools.islice(rows, batch_size))
    most = max(gather(len(batch)))
    given = np.stack(batch) if batch else empty
    yield from in_batches(function, batch_size, given, num_rows=most)


def map_batches(
  function: Callable[..., Any], batch_size: int, *arrays: np.ndarray
) -> Any:
  """All that `in_batches` yields as one tree, float32 where floating."""

  def join(*leaves: np.ndarray) -> np.ndarray:
    joined = np.concatenate(leaves)
    is_float = jnp.issubdtype(joined.dtype, jnp.floating)
    return joined.astype(np.float32) if is_float else joined

  return jax.tree.map(join, *in_batches(function, batch_size, *arrays))
