"""Features of frozen weights, computed once and kept on disk.

A directory a set, named by the hash of all that the numbers depend on:
`features-N.npy` (one row an input, those of process N), `index.npz` (whose row
is whose, mean and std of each channel), `checksums.json` (of these) and
`features.json` (what the name is the hash of). It appears whole or not at all,
and is made anew if a file is not as it was written. All processes of a job see
the directory, and each computes and writes its share of the records.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import operator
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines import sources
from data_pipelines.common import checksums, directories, files
from data_pipelines.common import images as image_lib
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.progress import Progress
from data_pipelines.corpus.records import Record
from data_pipelines.loading import crops
from sapiens2_jax.evaluation import encoding
from sapiens2_jax.models import batching
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.runtime import gathering
from sapiens2_jax.tasks.base import Image, Size

CROP_AREA = (0.2, 0.7)  # of the photograph's: ours, as local crops
VERSION = 2  # of the files and of what is computed
_INDEX, _FACTS = "index.npz", "features.json"
_SUMS = "checksums.json"


@dataclasses.dataclass(frozen=True)
class View:
  """What of a record goes through the encoder.

  Attributes:
    name: of the view; equal names mean equal inputs.
    inputs: images of `image_size` of a record; raises UnusableExample.
    image_size: (height, width).
    output: "patches" or "cls", what is kept.
  """

  name: str
  inputs: Callable[[Record], list[Image]]
  image_size: Size
  output: str = "patches"


@dataclasses.dataclass(frozen=True)
class Backbone:
  """A frozen encoder.

  Attributes:
    content_hash: of its weights, hex.
  """

  encoder: Encoder
  params: dict
  content_hash: str


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
  """A set on disk.

  Attributes:
    values: (n, rows, cols, d), or (n, d) of [cls]; mapped, not loaded.
    first: (records + 1,); record i has the rows first[i] to first[i + 1].
    rows: row of an input, by `digest`.
    mean, std: (d,) float32 of each channel, std above 0.
  """

  values: "Rows"
  first: np.ndarray
  rows: dict[bytes, int]
  mean: np.ndarray
  std: np.ndarray


def crop_view(image_size: Size, max_pixels: int) -> View:
  """Two random crops of each photograph, the same for all backbones."""
  settings = crops.CropConfig(
    global_size=image_size, num_global=2, num_local=0, global_area=CROP_AREA
  )

  def inputs(record: Record) -> list[Image]:
    image = image_lib.decode_image(record.image, max_pixels=max_pixels)
    size = image.shape[:2]
    # Drawn by content: the place in a source does not matter.
    index = int(record.content_hash[:8], 16)
    boxes, _ = crops.draw_boxes(*size, settings, seed=0, index=index, epoch=0)
    return [crops.cut(image, box, size, image_size) for box in boxes]

  return View("two crops", inputs, image_size, output="cls")


def hash_params(params: dict) -> str:
  """SHA-256 of names, shapes and values."""
  found = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    array = np.ascontiguousarray(leaf)
    name = jax.tree_util.keystr(path)
    found.update(f"{name} {array.dtype} {array.shape};".encode())
    found.update(array)
  return found.hexdigest()


def hash_source(source: sources.ImageSource) -> str:
  """SHA-256 of all images and labels, in order.

  All processes must call this; each reads its share.
  """
  job, found = gathering.by_process(), []
  numbers = job.share(len(source))
  with Progress("reading", len(numbers), "images") as progress:
    for number in numbers:
      try:
        record = source[number]
        labels = hashlib.sha256(record.labels).hexdigest()
        found.append(f"{record.content_hash} {labels};")
      except UnusableExample as error:
        found.append(f"{error.reason};")
      progress.advance()
  return hashlib.sha256(
    "".join(job.gather("".join(found))).encode()
  ).hexdigest()


def digest(image: Image) -> bytes:
  """What tells inputs apart."""
  return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


def cached(
  directory: str | os.PathLike,
  backbone: Backbone,
  source: sources.ImageSource,
  source_hash: str,
  view: View,
  dtype: str,
) -> pathlib.Path:
  """Where the features of a source are; computes them if they are not there.

  All processes must call this; on all devices.

  Args:
    directory: of all sets, which all processes see.
    backbone: computes them.
    source: of the records; one whose inputs cannot be made has no rows.
    source_hash: of `hash_source`.
    view: what of each record.
    dtype: of the values on disk, "float16" or "float32".

  Raises:
    ValueError: no record has an input, features do not fit into `dtype`, or
      processes see different directories.
  """
  facts = {
    "version": VERSION,
    "weights": backbone.content_hash,
    "rope_dtype": backbone.encoder.rope_dtype,
    "compute_dtype": np.dtype(backbone.encoder.dtype).name,
    "data": source_hash,
    "view": view.name,
    "image_size": list(view.image_size),
    "output": view.output,
    "dtype": dtype,
  }
  text = json.dumps(facts, sort_keys=True)
  name = hashlib.sha256(text.encode()).hexdigest()[:24]
  path = pathlib.Path(directory) / name
  job = gathering.by_process()
  # One process looks, writes what all have made, and gives it its name.
  if job.gather(job.index == 0 and _is_whole(path, facts))[0]:
    return path
  if job.index:
    _write(job.gather(None)[0], backbone, source, view, dtype)
  else:
    with directories.replaced(path) as partial:
      _write(job.gather(partial)[0], backbone, source, view, dtype)
      files.write_json(partial / _FACTS, facts)
  job.gather(None)  # It has its name.
  load.cache_clear()
  return path


def _is_whole(path: pathlib.Path, facts: dict) -> bool:
  """Whether a set is there and as it was written; reads all of it."""
  if directories.read_marker(path, _FACTS) != facts:
    return False
  problems = _find_damage(path)
  if problems:
    print(f"features made anew: {problems[0]}", file=sys.stderr, flush=True)
  return not problems


def _find_damage(path: pathlib.Path) -> list[str]:
  """What is wrong with the files of a set; reads all of them."""
  try:
    listed = checksums.read(path / _SUMS)
  except (OSError, ValueError) as error:
    return [str(error)]
  unlisted = {_shard_name(0), _INDEX} - {*listed}
  return [
    *(f"{path / _SUMS}: {name} is missing" for name in sorted(unlisted)),
    *checksums.compare(path, listed),
  ]


def _shard_name(number: int) -> str:
  return f"features-{number}.npy"


class Rows:
  """Rows of several arrays, one after another; read when asked for.

  Attributes:
    shape: of all.
    dtype: of all.
  """

  def __init__(self, parts: list[np.ndarray]):
    self._parts = parts
    self._ends = np.cumsum([len(part) for part in parts])
    self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
    self.dtype = parts[0].dtype

  def __getitem__(self, row: int) -> np.ndarray:
    part = int(np.searchsorted(self._ends, row, side="right"))
    return self._parts[part][row - self._ends[part]]

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.concatenate(self._parts).astype(dtype or self.dtype)


@functools.lru_cache(maxsize=16)
def load(path: str | os.PathLike) -> Features:
  """Opens what `cached` wrote."""
  path = pathlib.Path(path)
  num_shards = len({*checksums.read(path / _SUMS)} - {_INDEX})
  shards = [
    np.load(path / _shard_name(number), mmap_mode="r")
    for number in range(num_shards)
  ]
  with np.load(path / _INDEX) as index:
    digests = [row.tobytes() for row in index["digests"]]
    return Features(
      values=Rows(shards),
      first=index["first"],
      rows={found: row for row, found in enumerate(digests)},
      mean=index["mean"],
      std=index["std"],
    )


class Shard:
  """Appends rows to a .npy file; adds up their mean and std."""

  def __init__(self, path: pathlib.Path, shape: tuple[int, ...], dtype: str):
    self._file, self._shape, self._dtype = open(path, "wb"), shape, dtype
    self._rows = 0
    self._header()
    self.sums = Sums(0, *np.zeros((2, shape[-1])))

  def _header(self) -> None:
    # NumPy leaves room for the number of rows to grow.
    np.lib.format.write_array_header_1_0(
      self._file,
      {
        "descr": np.lib.format.dtype_to_descr(np.dtype(self._dtype)),
        "fortran_order": False,
        "shape": (self._rows, *self._shape),
      },
    )

  def append(self, rows: np.ndarray) -> None:
    with np.errstate(over="ignore"):
      stored = rows.astype(self._dtype)
    if not np.isfinite(stored).all():
      raise ValueError(
        f"features: values up to {np.abs(rows).max():.3g} do not fit into "
        f"features.dtype={self._dtype}; expected finite ones, or float32."
      )
    stored.tofile(self._file)
    cells = stored.reshape(-1, self._shape[-1]).astype(np.float64)
    self.sums += Sums(len(cells), cells.sum(axis=0), (cells**2).sum(axis=0))
    self._rows += len(rows)

  def close(self) -> None:
    """Ends the file, and waits until it is on the disk."""
    self._file.flush()
    self._file.seek(0)
    self._header()
    self._file.flush()
    os.fsync(self._file.fileno())
    self._file.close()


class Sums(NamedTuple):
  """Of numbers, and of their squares, of each channel."""

  count: int
  values: np.ndarray
  squares: np.ndarray

  def __add__(self, other: "Sums") -> "Sums":
    return Sums(*(one + more for one, more in zip(self, other)))

  def statistics(self) -> dict[str, np.ndarray]:
    """Mean and std."""
    mean = self.values / self.count
    variance = np.maximum(self.squares / self.count - mean**2, 0)
    std = np.maximum(np.sqrt(variance), 1e-6)
    return {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}


@dataclasses.dataclass
class _Share:
  """What a process has written: names of its inputs, in their order."""

  counts: list[int] = dataclasses.field(default_factory=list)
  digests: list[bytes] = dataclasses.field(default_factory=list)
  sums: Sums | None = None


def _write_shard(
  path: pathlib.Path,
  backbone: Backbone,
  source: sources.ImageSource,
  view: View,
  dtype: str,
) -> _Share:
  """Writes the rows of this process's share of the records."""
  arch = backbone.encoder.architecture
  model = encoding.spread(backbone.encoder, backbone.params, view.image_size)
  grid = token_grid(arch, view.image_size)
  cells = grid.shape if view.output == "patches" else ()
  part, share = model.apply_fn.part, _Share()
  numbers = part.share(len(source))

  def inputs() -> Iterator[Image]:
    for number in numbers:
      try:
        images = view.inputs(source[number])
      except UnusableExample:
        images = []
      share.counts.append(len(images))
      share.digests.extend(map(digest, images))
      yield from images
      progress.advance()

  shard = Shard(path, (*cells, arch.embed_dim), dtype)
  with Progress(f"features ({view.name})", len(numbers), "images") as progress:
    apply = functools.partial(model.apply_fn, model.params)
    empty = np.zeros((0, *view.image_size, 3), np.uint8)
    for found in batching.as_they_come(
      apply, model.batch_size, inputs(), empty, part.gather
    ):
      shard.append(found[view.output].astype(np.float32))
  shard.close()
  share.sums = shard.sums
  return share


def _write(
  path: pathlib.Path,
  backbone: Backbone,
  source: sources.ImageSource,
  view: View,
  dtype: str,
) -> None:
  """Has all processes write a shard each; process 0 says what they are of."""
  job = gathering.by_process()
  if not all(job.gather(path.is_dir())):
    raise ValueError(
      f"{path.parent}: not all processes see what process 0 makes there; "
      "expected a directory on a disk that they share (features.directory)."
    )
  name = _shard_name(job.index)
  share = _write_shard(path / name, backbone, source, view, dtype)
  sums = checksums.measure(path, (name,))
  written = job.gather((share, sums))
  shares = [share for share, _ in written]
  counts = list(itertools.chain(*(share.counts for share in shares)))
  if not sum(counts):
    raise ValueError(
      f"features: none of {len(source)} images has an input of the view "
      f"{view.name!r}."
    )
  if job.index:
    return
  digests = b"".join(itertools.chain(*(share.digests for share in shares)))
  np.savez(
    path / _INDEX,
    first=np.concatenate([[0], np.cumsum(counts)]),
    digests=np.frombuffer(digests, np.uint8).reshape(-1, 16),
    **functools.reduce(operator.add, (s.sums for s in shares)).statistics(),
  )
  for _, more in written:
    sums |= more
  checksums.write(path / _SUMS, sums | checksums.measure(path, (_INDEX,)))
