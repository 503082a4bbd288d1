"""Features of frozen weights, computed once and kept on disk.

A directory a set, named by the hash of all that the numbers depend on:
`features.npy` (one row an input), `index.npz` (whose row is whose, mean and
std of each channel), `checksums.json` (of these two) and `features.json` (what
the name is the hash of). It appears whole or not at all, and is made anew if a
file is not as it was written.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

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
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.tasks.base import Image, Size

CROP_AREA = (0.2, 0.7)  # of the photograph's: ours, as local crops
VERSION = 1  # of the files and of what is computed
_FEATURES, _INDEX, _FACTS = "features.npy", "index.npz", "features.json"
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

  values: np.ndarray
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
  """SHA-256 of all images and labels, in order."""
  found = hashlib.sha256()
  with Progress("reading", len(source), "images") as progress:
    for number in range(len(source)):
      try:
        record = source[number]
        labels = hashlib.sha256(record.labels).hexdigest()
        found.update(f"{record.content_hash} {labels};".encode())
      except UnusableExample as error:
        found.update(f"{error.reason};".encode())
      progress.advance()
  return found.hexdigest()


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

  On one device.

  Args:
    directory: of all sets.
    backbone: computes them.
    source: of the records; one whose inputs cannot be made has no rows.
    source_hash: of `hash_source`.
    view: what of each record.
    dtype: of the values on disk, "float16" or "float32".

  Raises:
    ValueError: no record has an input, or features do not fit into `dtype`.
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
  if directories.read_marker(path, _FACTS) == facts:
    problems = _find_damage(path)
    if not problems:
      return path
    print(f"features made anew: {problems[0]}", file=sys.stderr, flush=True)
  with directories.replaced(path) as partial:
    _write(partial, backbone, source, view, dtype)
    sums = checksums.measure(partial, (_FEATURES, _INDEX))
    checksums.write(partial / _SUMS, sums)
    files.write_json(partial / _FACTS, facts)
  load.cache_clear()
  return path


def _find_damage(path: pathlib.Path) -> list[str]:
  """What is wrong with the files of a set; reads all of them."""
  try:
    listed = checksums.read(path / _SUMS)
  except (OSError, ValueError) as error:
    return [str(error)]
  unlisted = {_FEATURES, _INDEX} - {*listed}
  return [
    *(f"{path / _SUMS}: {name} is missing" for name in sorted(unlisted)),
    *checksums.compare(path, listed),
  ]


@functools.lru_cache(maxsize=16)
def load(path: str | os.PathLike) -> Features:
  """Opens what `cached` wrote."""
  path = pathlib.Path(path)
  with np.load(path / _INDEX) as index:
    digests = [row.tobytes() for row in index["digests"]]
    return Features(
      values=np.load(path / _FEATURES, mmap_mode="r"),
      first=index["first"],
      rows={found: row for row, found in enumerate(digests)},
      mean=index["mean"],
      std=index["std"],
    )


class _Writer:
  """Appends rows to a .npy file; adds up their mean and std."""

  def __init__(self, file, shape: tuple[int, ...], dtype: str):
    self._file, self._shape, self._dtype = file, shape, np.dtype(dtype)
    self.count = self._cells = 0
    self._sum, self._squares = np.zeros((2, shape[-1]))
    self._header()

  def _header(self) -> None:
    # NumPy leaves room for the number of rows to grow.
    np.lib.format.write_array_header_1_0(
      self._file,
      {
        "descr": np.lib.format.dtype_to_descr(self._dtype),
        "fortran_order": False,
        "shape": (self.count, *self._shape),
      },
    )

  def append(self, rows: np.ndarray) -> None:
    with np.errstate(over="ignore"):
      stored = rows.astype(self._dtype)
    if not np.isfinite(stored).all():
      raise ValueError(
        f"features: values up to {np.abs(rows).max():.3g} do not fit into "
        f"features.dtype={self._dtype.name}; expected finite ones, or float32."
      )
    stored.tofile(self._file)
    cells = stored.reshape(-1, self._shape[-1]).astype(np.float64)
    self._sum += cells.sum(axis=0)
    self._squares += (cells**2).sum(axis=0)
    self._cells += len(cells)
    self.count += len(rows)

  def close(self) -> dict[str, np.ndarray]:
    """Ends the file; mean and std."""
    self._file.flush()
    self._file.seek(0)
    self._header()
    mean = self._sum / self._cells
    variance = np.maximum(self._squares / self._cells - mean**2, 0)
    std = np.maximum(np.sqrt(variance), 1e-6)
    return {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}


def _write(
  path: pathlib.Path,
  backbone: Backbone,
  source: sources.ImageSource,
  view: View,
  dtype: str,
) -> None:
  arch = backbone.encoder.architecture
  grid = token_grid(arch, view.image_size)
  cells = grid.shape if view.output == "patches" else ()
  chunk = encoding.chunk_size(grid.num_tokens)
  counts: list[int] = []
  digests: list[bytes] = []

  def inputs() -> Iterator[Image]:
    for number in range(len(source)):
      try:
        images = view.inputs(source[number])
      except UnusableExample:
        images = []
      counts.append(len(images))
      digests.extend(map(digest, images))
      yield from images
      progress.advance()

  with (
    open(path / _FEATURES, "wb") as file,
    Progress(f"features ({view.name})", len(source), "images") as progress,
  ):
    writer, stream = _Writer(file, (*cells, arch.embed_dim), dtype), inputs()
    while batch := list(itertools.islice(stream, chunk)):
      given = backbone.encoder, backbone.params, np.stack(batch)
      writer.append(encoding.encode(*given)[view.output])
    if not writer.count:
      raise ValueError(
        f"features: none of {len(source)} images has an input of the view "
        f"{view.name!r}."
      )
    statistics = writer.close()
  np.savez(
    path / _INDEX,
    first=np.concatenate([[0], np.cumsum(counts)]),
    digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
    **statistics,
  )
