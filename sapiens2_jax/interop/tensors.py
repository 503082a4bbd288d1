"""Safetensors files, read and written one tensor at a time.

Only bytes are read; nothing in a file is ever executed.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from data_pipelines.common.files import whole_file

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")

DTYPES = {
  "F32": np.dtype(np.float32),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F16": np.dtype(np.float16),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class LazyTensor:
  """A tensor that is read, or computed, when it is asked for.

  Attributes:
    shape: of the array.
    dtype: NumPy dtype, or a safetensors code that is not supported.
    load: returns the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype | str
  load: Callable[[], np.ndarray]


Tensors = Mapping[str, LazyTensor]


def _open_file(path: pathlib.Path) -> dict[str, LazyTensor]:
  def lazy(key: str, found: Any) -> LazyTensor:
    def load() -> np.ndarray:
      with safetensors.safe_open(path, framework="numpy") as file:
        return file.get_tensor(key)

    code = found.get_dtype()
    return LazyTensor(tuple(found.get_shape()), DTYPES.get(code, code), load)

  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      return {key: lazy(key, file.get_slice(key)) for key in file.keys()}
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file") from None
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(
      f"{path}: truncated, or not a safetensors file ({error})"
    ) from error


def _open_sharded(index: pathlib.Path) -> dict[str, LazyTensor]:
  try:
    weight_map = json.loads(index.read_text())["weight_map"]
    names = sorted(set(weight_map.values()))
    if any(pathlib.Path(name).name != name for name in names):
      raise ValueError("a shard is outside the directory")
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{index}: not an index of shards ({error})") from error
  absent = [name for name in names if not (index.parent / name).is_file()]
  if absent:
    raise ValueError(f"{index}: missing shards: {shorten(absent)}")
  shards = {name: _open_file(index.parent / name) for name in names}
  lost = [key for key, name in weight_map.items() if key not in shards[name]]
  if lost:
    raise ValueError(f"{index}: its shards do not hold {shorten(lost)}")
  return {key: shards[name][key] for key, name in weight_map.items()}


def find_file(path: str | os.PathLike) -> pathlib.Path:
  """The safetensors file, or index of shards, that `path` stands for.

  Args:
    path: a file, or a directory with `model.safetensors`, an index of shards
      or exactly one safetensors file of any name.

  Raises:
    ValueError: there is none, there are several, or they are pickled.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise ValueError(f"{path}: no such file or directory")
  if path.is_dir():
    for name in (SINGLE_NAME, INDEX_NAME):
      if (path / name).is_file():
        return path / name
    files = sorted(path.glob("*.safetensors"))
    if len(files) > 1:
      names = shorten([file.name for file in files])
      raise ValueError(
        f"{path}: {len(files)} safetensors files and no {INDEX_NAME}; "
        f"give one of {names}"
      )
    files += sorted(p for p in path.iterdir() if p.suffix in PICKLED)
    if not files:
      raise ValueError(f"{path}: holds no weights; expected {SINGLE_NAME}")
    path = files[0]
  if path.suffix in PICKLED:
    raise ValueError(
      f"{path}: a pickled file can run code when it is opened, so it is not; "
      "convert it to safetensors first (safetensors.torch.save_file)"
    )
  return path


def open_tensors(path: str | os.PathLike) -> dict[str, LazyTensor]:
  """Names and shapes of what `find_file(path)` holds; loads nothing yet.

  Raises:
    ValueError: naming the file that is missing, truncated or of another kind.
  """
  file = find_file(path)
  return _open_sharded(file) if file.suffix == ".json" else _open_file(file)


def write_safetensors(
  path: str | os.PathLike, tensors: Tensors, metadata: Mapping[str, str]
) -> str:
  """Writes tensors in turn, under another name until the file is whole.

  Args:
    path: of the file, replaced if it exists.
    tensors: what to write.
    metadata: texts for the header.

  Returns:
    SHA-256 of the file, hexadecimal.
  """
  # Wide types first, as the safetensors library does: all stay aligned.
  names = sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k))
  header, offset = {"__metadata__": dict(metadata)}, 0
  for name in names:
    shape, dtype = tensors[name].shape, tensors[name].dtype
    end = offset + math.prod(shape) * dtype.itemsize
    header[name] = {
      "dtype": _CODES[dtype],
      "shape": list(shape),
      "data_offsets": [offset, end],
    }
    offset = end
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  digest = hashlib.sha256()
  with whole_file(path) as file:

    def write(data) -> None:
      digest.update(data)
      file.write(data)

    write(len(text).to_bytes(8, "little"))
    write(text)
    for name in names:
      spec, array = tensors[name], tensors[name].load()
      if array.shape != spec.shape or array.dtype != spec.dtype:
        raise ValueError(
          f"{name}: is {array.dtype}{array.shape}, "
          f"announced as {spec.dtype}{spec.shape}"
        )
      write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()


def shorten(names: list[str], limit: int = 10) -> str:
  """The first names, and how many more there are."""
  shown = ", ".join(names[:limit])
  more = len(names) - limit
  return f"{shown} and {more} more" if more > 0 else shown
