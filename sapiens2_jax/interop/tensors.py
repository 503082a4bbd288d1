"""Safetensors files, read and written one tensor at a time.

Only bytes are read; nothing in a file is ever executed.
"""

import collections
import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from data_pipelines.common.direct import DirectFile
from data_pipelines.common.files import read_json, whole_path

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")

DTYPES = {
  "F32": np.dtype(np.float32),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F16": np.dtype(np.float16),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_AHEAD = 4  # tensors that are loaded or wait


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

  @property
  def nbytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.asarray(self.load(), dtype)


Tensors = Mapping[str, LazyTensor]


def _open_file(path: pathlib.Path) -> dict[str, LazyTensor]:
  def lazy(key: str, found: Any, offset: int) -> LazyTensor:
    code, shape = found.get_dtype(), tuple(found.get_shape())
    dtype = DTYPES.get(code, code)

    def load() -> np.ndarray:
      # Not through the library, which maps the file: twice the time.
      count = math.prod(shape)
      array = np.fromfile(path, dtype, count, offset=offset)
      if array.size != count:
        raise ValueError(f"{path}: was cut off while it was read, at {key}")
      return array.reshape(shape)

    return LazyTensor(shape, dtype, load)

  try:
    # The library sees to it that header and size are right.
    with safetensors.safe_open(path, framework="numpy") as file:
      offsets = _offsets(path)
      return {
        key: lazy(key, file.get_slice(key), offsets[key]) for key in file.keys()
      }
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file") from None
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(
      f"{path}: truncated, or not a safetensors file ({error})"
    ) from error


def _offsets(path: pathlib.Path) -> dict[str, int]:
  """Where in the file each tensor begins."""
  with open(path, "rb") as file:
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
  header.pop("__metadata__", None)
  return {key: 8 + size + x["data_offsets"][0] for key, x in header.items()}


def _weight_map(index: pathlib.Path) -> dict[str, str]:
  """Which shard holds a key."""
  try:
    weight_map = read_json(index)["weight_map"]
    if any(pathlib.Path(x).name != x for x in set(weight_map.values())):
      raise ValueError("a shard is outside the directory")
  except (
    *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
  ) as error:
    raise ValueError(f"{index}: not an index of shards ({error})") from error
  return weight_map


def list_shards(file: pathlib.Path) -> list[str]:
  """Names of the shards of an index; of another file, none.

  Raises:
    ValueError: the index is damaged.
  """
  if file.suffix != ".json":
    return []
  return sorted(set(_weight_map(file).values()))


def _open_sharded(index: pathlib.Path) -> dict[str, LazyTensor]:
  weight_map, names = _weight_map(index), list_shards(index)
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
      raise ValueError(
        f"{path}: holds no weights; expected {SINGLE_NAME}, or the workdir of "
        "a run that has saved a checkpoint"
      )
    path = files[0]
  if path.suffix in PICKLED:
    raise ValueError(
      f"{path}: a pickled file can run code when it is opened, so it is not; "
      "convert it to safetensors first (safetensors.torch.save_file of its "
      "state dict)"
    )
  return path


def open_tensors(path: str | os.PathLike) -> dict[str, LazyTensor]:
  """Names and shapes of what `find_file(path)` holds; loads nothing yet.

  Raises:
    ValueError: naming the file that is missing, truncated or of another kind.
  """
  file = find_file(path)
  return _open_sharded(file) if file.suffix == ".json" else _open_file(file)


Advance = Callable[[int], object]  # is told of so many bytes that are done


def write_safetensors(
  path: str | os.PathLike,
  tensors: Tensors,
  metadata: Mapping[str, str],
  advance: Advance = lambda num_bytes: None,
) -> str:
  """Writes tensors in turn, under another name until the file is whole.

  Takes the memory of the tensor that is written, of one before, and of
  `_AHEAD` after.

  Args:
    path: of the file, replaced if it exists.
    tensors: what to write.
    metadata: texts for the header.
    advance: is told of each tensor that is written.

  Returns:
    SHA-256 of the file, hexadecimal.
  """
  # Wide types first, as the safetensors library does: all stay aligned.
  names = sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k))
  header, offset = {"__metadata__": dict(metadata)}, 0
  for name in names:
    spec = tensors[name]
    end = offset + spec.nbytes
    header[name] = {
      "dtype": _CODES[spec.dtype],
      "shape": list(spec.shape),
      "data_offsets": [offset, end],
    }
    offset = end
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  digest = hashlib.sha256()
  with (
    whole_path(path) as partial,
    DirectFile(partial) as file,
    ThreadPoolExecutor(2) as loaders,
    ThreadPoolExecutor(1) as hasher,  # keeps the order
  ):
    hashed = []

    def write(data) -> None:
      hashed.append(hasher.submit(digest.update, data))
      file.write(data)
      if len(hashed) > 1:
        hashed.pop(0).result()

    def load(name: str) -> np.ndarray:
      spec, array = tensors[name], tensors[name].load()
      if array.shape != spec.shape or array.dtype != spec.dtype:
        raise ValueError(
          f"{name}: is {array.dtype}{array.shape}, "
          f"announced as {spec.dtype}{spec.shape}"
        )
      return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    write(len(text).to_bytes(8, "little"))
    write(text)
    for array in ahead(loaders, load, names, count=_AHEAD):
      write(array.data)
      advance(array.nbytes)
  return digest.hexdigest()


def ahead(
  pool: ThreadPoolExecutor,
  function: Callable[[Any], Any],
  items: Iterable[Any],
  count: int,
) -> Iterator[Any]:
  """As `map`, while `count` of the next results are computed."""
  waiting = collections.deque()
  for item in items:
    if len(waiting) == count:
      yield waiting.popleft().result()
    waiting.append(pool.submit(function, item))
  while waiting:
    yield waiting.popleft().result()


def shorten(names: list[str], limit: int = 10) -> str:
  """The first names, and how many more there are."""
  shown = ", ".join(names[:limit])
  more = len(names) - limit
  return f"{shown} and {more} more" if more > 0 else shown
