import numpy as np
import pytest

from sapiens2_jax.models import batching


@pytest.mark.parametrize("total", [1, 4, 7])
def test_batches_join_to_all_rows_and_keep_one_shape(total):
  shapes = set()

  def double(x, y):
    shapes.add(x.shape)
    return {"sum": x + y, "ids": y.astype(int)}

  x = np.arange(total * 2.0).reshape(total, 2)
  out = batching.map_batches(double, 4, x, x)
  np.testing.assert_array_equal(out["sum"], 2 * x)
  np.testing.assert_array_equal(out["ids"], x.astype(int))
  assert out["sum"].dtype == np.float32
  assert shapes == {(4, 2)}


def test_filling_is_zeros_and_is_not_returned():
  seen = []
  x = np.arange(1, 6)
  found = list(batching.in_batches(lambda x: seen.append(x) or x, 3, x))
  assert [part.tolist() for part in found] == [[1, 2, 3], [4, 5]]
  assert seen[1].tolist() == [4, 5, 0]


def test_a_process_without_rows_makes_the_calls_of_the_one_with_most():
  calls, others = [], iter([2, 2, 1])

  def double(rows):
    calls.append(rows.copy())
    return 2 * rows

  found = batching.as_they_come(
    double,
    2,
    (np.full(3, n, np.float32) for n in (1, 2, 3)),
    np.zeros((0, 3), np.float32),
    lambda count: [count, next(others)],
  )
  assert [one[:, 0].tolist() for one in found] == [[2, 4], [6], []]
  assert [one[:, 0].tolist() for one in calls] == [[1, 2], [3, 0], [0, 0]]
