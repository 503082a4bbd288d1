"""Rows in the order of their content, for many millions of them."""

from __future__ import annotations

import numpy as np

_BLOCK = 2**20  # Rows that are looked at together.
_DIGITS = np.zeros(256, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def parse_hex(texts: bytes, num_chars: int) -> np.ndarray:
  """(n, num_chars / 2) uint8 of lower-case hex texts, one after the other."""
  digits = _DIGITS[np.frombuffer(texts, np.uint8)].reshape(-1, num_chars)
  return digits[:, 0::2] << 4 | digits[:, 1::2]


def read_prefix(keys: np.ndarray) -> np.ndarray:
  """(n,) uint64, the first 8 of (n, m) bytes, in their order."""
  first = np.ascontiguousarray(keys[:, :8]).view(">u8").ravel()
  return first.astype(np.uint64)


def sort_keys(keys: np.ndarray) -> np.ndarray:
  """Order of rows of bytes; equal ones stay as they are.

  Takes 16 bytes a row beside the keys, and little else.

  Args:
    keys: (n, 8 m) uint8, the first byte weighs most.

  Returns:
    (n,) int64.
  """
  prefix = read_prefix(keys)
  order = np.argsort(prefix, kind="stable")
  prefix = prefix[order]
  is_equal = prefix[1:] == prefix[:-1]
  tied = np.zeros(len(keys), bool)
  tied[1:] |= is_equal
  tied[:-1] |= is_equal
  places = np.flatnonzero(tied)
  prefix = prefix[places]
  start = 0
  while start < len(places):
    last = prefix[min(start + _BLOCK, len(places)) - 1]
    end = int(np.searchsorted(prefix, last, side="right"))
    rows = order[places[start:end]]
    words = np.ascontiguousarray(keys[rows]).view(">u8").astype(np.uint64)
    order[places[start:end]] = rows[np.lexsort(words.T[::-1])]
    start = end
  return order


def find_first(keys: np.ndarray, order: np.ndarray, width: int) -> np.ndarray:
  """For each place of a sorted order the first place with the same start.

  Args:
    keys: as of `sort_keys`.
    order: as it returns.
    width: bytes of the start.
  """
  first = np.arange(len(order))
  for begin in range(1, len(order), _BLOCK):
    end = min(begin + _BLOCK, len(order))
    block = keys[order[begin - 1 : end], :width]
    first[begin:end][(block[1:] == block[:-1]).all(axis=1)] = 0
  return np.maximum.accumulate(first)
