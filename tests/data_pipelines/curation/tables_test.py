import numpy as np
import pyarrow
import pytest

from data_pipelines.curation import tables


@pytest.fixture
def table():
  values = np.random.default_rng(0).random(500)
  return pyarrow.table({"row": np.arange(500), "score": values})


@pytest.fixture
def path(table, tmp_path):
  tables.write(table, tmp_path / "a.parquet", row_group_size=100)
  return tmp_path / "a.parquet"


def test_a_table_comes_back(table, path):
  assert tables.read(path) == table
  assert tables.read(path, ["score"]) == table.select(["score"])
  assert tables.read_group(path, 1) == table.slice(100, 100)
  assert tables.count_rows(path) == 500


def test_damage_is_named_or_changes_nothing(table, path):
  whole, named = path.read_bytes(), 0
  random = np.random.default_rng(1)
  for place in random.integers(0, len(whole), 60):
    data = bytearray(whole)
    data[place] ^= 1 << random.integers(8)
    path.write_bytes(data)
    try:
      assert tables.read(path) == table
    except OSError as error:
      named += 1
      assert str(error).startswith(f"{path}: damaged: ")
  assert named > 40


def test_a_cut_table_is_named(path):
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(OSError, match="a.parquet: damaged: .*; remove it"):
    tables.count_rows(path)
  path.unlink()
  with pytest.raises(FileNotFoundError):
    tables.read(path)
