"""The index of a shard: sizes and hashes of its records, without images."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping

import numpy as np

from data_pipelines.common import storage

DTYPES = {
  "content_hash": np.uint8,
  "height": np.int32,
  "width": np.int32,
  "num_bytes": np.int64,
}


def read_index(
  directory: str | os.PathLike, shard: Mapping
) -> dict[str, np.ndarray]:
  """Reads the index of a shard, and checks it.

  Args:
    directory: of the corpus.
    shard: the shard's entry of the manifest.

  Returns:
    The arrays of `DTYPES`, one row a record; content_hash is (n, 32).

  Raises:
    ValueError: it is not the file that the manifest lists; the message does
      not name the file.
    OSError: it cannot be read.
  """
  data = storage.read_bytes(storage.join(directory, shard["index"]))
  sha256 = hashlib.sha256(data).hexdigest()
  if sha256 != shard["index_sha256"]:
    raise ValueError(
      f"sha256 is {sha256}, the manifest says {shard['index_sha256']}"
    )
  try:
    with np.load(io.BytesIO(data)) as arrays:
      index = {name: arrays[name] for name in DTYPES}
  except Exception as error:  # A foreign file: zipfile and NumPy raise much.
    raise ValueError(f"no index: {' '.join(str(error).split())}") from error
  for name, dtype in DTYPES.items():
    rest = (32,) if name == "content_hash" else ()
    shape = (shard["num_records"], *rest)
    if index[name].shape != shape or index[name].dtype != dtype:
      raise ValueError(
        f"{name} is {index[name].dtype} {index[name].shape}, expected "
        f"{np.dtype(dtype)} {shape}"
      )
  return index
