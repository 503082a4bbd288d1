import os

import hypothesis
import pytest
from hypothesis import strategies

from data_pipelines.common import sorting, storage


@hypothesis.given(
  strategies.lists(strategies.text(max_size=3), max_size=40),
  strategies.integers(1, 12),
)
def test_names_come_sorted_whatever_fits_into_memory(names, run_size):
  found = sorting.sort_names(names, run_size=run_size)
  assert list(found) == sorted(names)


@pytest.mark.parametrize("run_size", [1, 3, 100])
def test_names_that_are_no_utf8_survive(run_size):
  names = [os.fsdecode(bytes([code, 10])) for code in range(90, 255)]
  found = sorting.sort_names(reversed(names), run_size=run_size)
  assert list(found) == sorted(names)


def test_a_folder_is_listed_in_the_same_order_however_large(
  tmp_path, monkeypatch
):
  for name in ("b/2", "b/1", "a", "b.x", "c/d/e", "c/a", "d", "e"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")
  expected = list(storage.list_files(tmp_path))
  monkeypatch.setitem(sorting.sort_names.__kwdefaults__, "run_size", 2)
  assert list(storage.list_files(tmp_path)) == expected == sorted(expected)
