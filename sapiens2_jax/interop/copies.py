"""Copies of arrays in another order, as fast as the machine copies."""

import cv2
import numpy as np

_CODES = {2: np.int16, 4: np.int32}  # what OpenCV knows of that many bytes
_TILE = 256  # rows and columns that the cache holds


def in_order(array: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
  """The array in C order and `dtype`; itself, if it is so.

  Most of the weights are matrices that lie the other way round. NumPy copies
  such number by number: OpenCV, tile by tile, 5 to 10 times as fast.
  """
  if array.ndim > 1 and array.itemsize in _CODES:
    swapped = array.swapaxes(-1, -2)
    if swapped.flags.c_contiguous and not array.flags.c_contiguous:
      numbers = swapped.view(_CODES[array.itemsize])
      matrices = numbers.reshape(-1, *numbers.shape[-2:])
      copy = np.empty((len(matrices), *array.shape[-2:]), numbers.dtype)
      for matrix, place in zip(matrices, copy):
        _transpose(matrix, place)
      array = copy.view(array.dtype).reshape(array.shape)
  return np.ascontiguousarray(array, dtype)


def _transpose(matrix: np.ndarray, place: np.ndarray) -> None:
  """Writes the transpose of `matrix` to `place`."""
  rows, columns = (range(0, size, _TILE) for size in matrix.shape)
  for row in rows:
    for column in columns:
      to_row, to_column = row + _TILE, column + _TILE
      cv2.transpose(
        matrix[row:to_row, column:to_column],
        dst=place[column:to_column, row:to_row],
      )
