"""Compiled programs of a run, kept for its restarts, each with a checksum.

JAX's own files are written in place and have none: a kill leaves half of one,
a flipped bit may run, and neither is ever replaced.
"""

import hashlib
import sys

import jax
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from data_pipelines.common import files, storage

_DIGEST_BYTES = hashlib.sha256().digest_size


def keep_in(path: str) -> None:
  """Keeps programs in a directory or bucket; JAX's own setting goes first."""
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", path)
    if storage.is_remote(path):  # What XLA itself writes beside, on GPUs.
      jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    compilation_cache.get_file_cache = lambda path: (CheckedCache(path), path)


class CheckedCache(CacheInterface):
  """Bytes by key, whole or not at all."""

  def __init__(self, path: str):
    self._path = path

  def get(self, key: str) -> bytes | None:
    path = storage.join(self._path, key)
    try:
      data = storage.read_bytes(path)
    except FileNotFoundError:
      return None
    except OSError as error:
      self._say(path, str(error))
      return None
    value = data[_DIGEST_BYTES:]
    if hashlib.sha256(value).digest() != data[:_DIGEST_BYTES]:
      self._say(path, "it does not have its checksum")
      return None
    return value

  def put(self, key: str, value: bytes) -> None:
    digest = hashlib.sha256(value).digest()
    files.write_file(storage.join(self._path, key), digest + value)

  def _say(self, path: str, reason: str) -> None:
    print(
      f"compiled program {path} is made anew: {reason}",
      file=sys.stderr,
      flush=True,
    )
