"""Orders of rows of bytes, against Python's."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from data_pipelines.curation import ordering


@pytest.mark.parametrize("block", [1, 4, 2**20])
@hypothesis.settings(
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(seed=strategies.integers(0, 2**32 - 1))
def test_the_order_is_that_of_bytes_and_stable(monkeypatch, block, seed):
  monkeypatch.setattr(ordering, "_BLOCK", block)
  generator = np.random.default_rng(seed)
  keys = np.zeros((30, 16), np.uint8)
  keys[:, [0, 7, 8, 15]] = generator.choice([0, 1, 128, 255], (30, 4))
  order = ordering.sort_keys(keys)
  expected = sorted(range(30), key=lambda row: (keys[row].tobytes(), row))
  assert order.tolist() == expected
  first = ordering.find_first(keys, order, 8)
  starts = [keys[row, :8].tobytes() for row in order]
  assert first.tolist() == [starts.index(start) for start in starts]


def test_hex_is_read():
  assert ordering.parse_hex(b"00ff9a1b", 4).tolist() == [[0, 255], [154, 27]]
