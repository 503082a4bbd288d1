"""Weights cut into files, as transformers cuts them."""

import pathlib
from collections.abc import Mapping

from data_pipelines.common import files
from sapiens2_jax.interop.tensors import (
  INDEX_NAME,
  SINGLE_NAME,
  Advance,
  LazyTensor,
  Tensors,
  write_safetensors,
)

SHARD_BYTES = 5 * 10**9  # of tensors in one file, at most


def split(tensors: Tensors, limit: int) -> list[dict[str, LazyTensor]]:
  """Parts of at most `limit` bytes, or of one tensor, in the given order."""
  parts, size = [{}], 0
  for name, tensor in tensors.items():
    if parts[-1] and size + tensor.nbytes > limit:
      parts.append({})
      size = 0
    parts[-1][name] = tensor
    size += tensor.nbytes
  return parts


def write_shards(
  directory: pathlib.Path,
  tensors: Tensors,
  metadata: Mapping[str, str],
  limit: int = SHARD_BYTES,
  advance: Advance = lambda num_bytes: None,
) -> dict[str, str]:
  """Writes one file, or several and their index, under the usual names.

  Args:
    directory: where.
    tensors, metadata, advance: as of `write_safetensors`.
    limit: bytes of tensors in one file; a larger tensor has one of its own.

  Returns:
    SHA-256 of each file by its name, hexadecimal.
  """
  parts = split(tensors, limit)
  sha256, weight_map = {}, {}
  for number, part in enumerate(parts, 1):
    name = f"model-{number:05}-of-{len(parts):05}.safetensors"
    name = name if len(parts) > 1 else SINGLE_NAME
    sha256[name] = write_safetensors(directory / name, part, metadata, advance)
    weight_map.update(dict.fromkeys(part, name))
  if len(parts) > 1:
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files.write_json(directory / INDEX_NAME, index)
  return sha256
