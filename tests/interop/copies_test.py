import ml_dtypes
import numpy as np
import pytest

from sapiens2_jax.interop.copies import in_order

SHAPES = [
  *((), (5,), (6, 4), (1, 4), (8, 1), (0, 3), (300, 513), (256, 512)),
  *((2, 300, 7), (2, 3, 6, 4)),
]


@pytest.mark.parametrize(
  "dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, bool]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_copy_of_numpy(shape, dtype):
  array = np.random.default_rng(0).standard_normal(shape).astype(dtype)
  views = [array, array.T]
  if len(shape) > 1:
    views += [array.swapaxes(-1, -2), array[::-1], array[..., ::2]]
  for view in views:
    for target in (None, np.float32):
      found = in_order(view, target)
      wanted = np.ascontiguousarray(view, target)
      assert found.flags.c_contiguous and found.dtype == wanted.dtype
      assert found.shape == wanted.shape
      assert found.tobytes() == wanted.tobytes()
  assert not shape or in_order(array) is array


def test_the_source_stays_as_it_is():
  array = np.arange(12, dtype=np.float32).reshape(3, 4)
  in_order(array.T)[...] = 0
  np.testing.assert_array_equal(array.reshape(-1), np.arange(12))
