import os

import pytest

from data_pipelines.common import direct


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(direct, "_BLOCK_BYTES", 8192)


def _write(path, *parts):
  with direct.DirectFile(path) as file:
    for part in parts:
      file.write(part)
  return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 4096, 8191, 8192, 8193, 50_000])
def test_all_bytes_arrive_however_they_are_cut(tmp_path, size):
  data = os.urandom(size)
  assert _write(tmp_path / "a", data) == data
  parts = [data[i : i + 1000] for i in range(0, size, 1000)]
  assert _write(tmp_path / "b", *parts, b"") == data


def test_a_longer_file_of_that_name_is_replaced(tmp_path):
  (tmp_path / "a").write_bytes(b"x" * 30_000)
  assert _write(tmp_path / "a", memoryview(b"yz")) == b"yz"


def test_a_file_system_without_direct_writes_gets_the_same(
  tmp_path, monkeypatch
):
  real = os.open

  def refuse(path, flags, *mode):
    if flags & os.O_DIRECT:
      raise OSError(22, "Invalid argument")
    return real(path, flags, *mode)

  monkeypatch.setattr(os, "open", refuse)
  data = os.urandom(20_000)
  assert _write(tmp_path / "a", data) == data


def test_an_error_closes_the_file_and_goes_on(tmp_path):
  before = len(os.listdir("/proc/self/fd"))
  with pytest.raises(KeyError):
    with direct.DirectFile(tmp_path / "a") as file:
      file.write(b"abc")
      raise KeyError
  assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "write", fail)
  with pytest.raises(OSError, match="No space left"):
    with direct.DirectFile(tmp_path / "a") as file:
      file.write(b"x" * 10)
  with pytest.raises(OSError, match="No space left"):
    with direct.DirectFile(tmp_path / "a") as file:
      for _ in range(3):
        file.write(b"x" * 8192)
