"""Programs of earlier starts are used when they are whole, else made anew."""

import os
import subprocess
import sys

import pytest

from data_pipelines.common import files, storage
from sapiens2_jax.runtime.compile_cache import CheckedCache


@pytest.mark.parametrize("left", [0, 10, 40])
def test_a_torn_entry_is_no_entry_and_is_replaced(tmp_path, capsys, left):
  cache, path = CheckedCache(str(tmp_path)), tmp_path / "key"
  assert cache.get("key") is None and not capsys.readouterr().err
  cache.put("key", b"program" * 9)
  assert cache.get("key") == b"program" * 9
  path.write_bytes(path.read_bytes()[:left])
  assert cache.get("key") is None
  assert f"{path} is made anew" in capsys.readouterr().err
  cache.put("key", b"program" * 9)
  assert cache.get("key") == b"program" * 9


def test_a_flipped_bit_is_noticed(tmp_path):
  cache, path = CheckedCache(str(tmp_path)), tmp_path / "key"
  cache.put("key", b"program")
  for at in range(len(path.read_bytes())):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    (tmp_path / "other").write_bytes(data)
    assert cache.get("other") is None


def test_a_bucket_keeps_programs_too(capsys):
  cache, path = CheckedCache("memory://programs"), "memory://programs/key"
  assert cache.get("key") is None
  cache.put("key", b"program")
  assert cache.get("key") == b"program"
  files.write_file(path, storage.read_bytes(path)[:-1])
  assert cache.get("key") is None
  assert f"{path} is made anew" in capsys.readouterr().err
  storage.remove_tree("memory://programs")


COMPILE = """
import sys, jax
from sapiens2_jax.runtime import compile_cache
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
compile_cache.keep_in(sys.argv[1])
print(jax.jit(lambda x: x * 2)(21.0))
"""


def test_jax_asks_this_cache_and_computes_the_same(tmp_path):
  environment = dict(os.environ)
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)

  def compile_there() -> str:
    done = subprocess.run(
      [sys.executable, "-c", COMPILE, str(tmp_path)],
      env=environment,
      capture_output=True,
      text=True,
    )
    assert done.stdout == "42.0\n", done.stderr
    return done.stderr

  assert "made anew" not in compile_there()
  entries = {path: path.read_bytes() for path in tmp_path.iterdir()}
  assert entries
  for path, data in entries.items():
    path.write_bytes(data[:-100])
  assert "is made anew" in compile_there()
  for path, data in entries.items():
    assert path.stat().st_size == len(data)
  assert "made anew" not in compile_there()
