"""Images inside WebDataset tars, on a disk or in a bucket."""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import os
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import kinds, progress, storage, tars
from data_pipelines.corpus import records
from data_pipelines.sources import base

_NUM_THREADS = 16  # Tars whose headers are read at the same time.


class TarSource:
  """The images of uncompressed tars, in the order of the tars.

  All headers are read up front; what is no image is counted, and said on
  stderr. Memory: 16 bytes and the name for each image. A tar has no checksums
  of contents: pack what is worth it, and many millions, with `build_corpus`.

  Raises:
    ValueError: a tar is compressed, cut off or none; the message names it.
    ShardReadError: a tar cannot be read.
  """

  def __init__(self, paths: Sequence[str]):
    self._paths = list(paths)
    names, ranges, counts, left_out = [], [], [], kinds.LeftOut()
    with (
      concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool,
      progress.Progress("listing", len(self._paths), "tars") as shown,
    ):
      try:
        for members, others in pool.map(_list_images, self._paths):
          left_out.update(others)
          counts.append(len(members))
          names += [os.fsencode(member.name) for member in members]
          ranges += [(member.start, member.size) for member in members]
          shown.advance()
      except BaseException:  # No need to read the others first.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    left_out.report(f"{len(paths)} tars")
    self._ends = list(itertools.accumulate(counts))
    self._ranges = np.array(ranges, np.int64).reshape(-1, 2)
    self._names = b"".join(names)
    self._name_ends = np.cumsum([len(name) for name in names], dtype=np.int64)

  def __len__(self) -> int:
    return len(self._ranges)

  def __getitem__(self, index: int) -> records.Record:
    path = self.location(index)
    start, size = map(int, self._ranges[index])
    try:
      image = storage.read_bytes(path, start, size)
    except OSError as error:
      raise base.ShardReadError(f"{path}: {error}") from error
    if len(image) != size:
      raise base.ShardReadError(
        f"{path}: {self.name(index)}: {len(image)} bytes, expected {size}."
      )
    return base.make_image_record(image, self.name(index))

  def name(self, index: int) -> str:
    """The path inside the tar."""
    base.check_index(index, len(self))
    start = self._name_ends[index - 1] if index else 0
    name = self._names[start : self._name_ends[index]]
    return name.decode("utf-8", "backslashreplace")

  def location(self, index: int) -> str:
    return self._paths[base.locate(self._ends, index)[0]]

  def identity(self) -> str:
    """Of names, places and sizes of the images in each tar."""
    ranges = hashlib.sha256(self._ranges.tobytes()).hexdigest()
    names = hashlib.sha256(self._names).hexdigest()
    return base.hash_texts([*self._ends, ranges, names])


def _list_images(path: str) -> tuple[list[tars.Member], kinds.LeftOut]:
  left_out = kinds.LeftOut()
  try:
    return [image for image, _ in tars.list_images(path, left_out)], left_out
  except OSError as error:
    raise base.ShardReadError(f"{path}: {error}") from error
