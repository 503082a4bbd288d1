"""Groups of near images: by PDQ, by embeddings, and by what connects them.

Tables and what units find lie in a directory that is named by the hash of all
that it is made of, so a restart goes on where it was, and the next run of the
same command finds the groups.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

from data_pipelines.curation import duplicates, running, similar, units
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.rows import Rows

PDQ, _PDQ_QUALITY = "hashes_pdq", "hashes_pdq_quality"
_VERSION = 1  # Of how groups are found.
_HASHES, _VECTORS, _LABELS = "hashes.npy", "vectors.npy", "labels.npy"


@dataclasses.dataclass(frozen=True)
class Nearness:
  """What counts as near.

  Attributes:
    max_distance: bits of PDQ up to which two images count as one; -1 for none.
    min_pdq_quality: below it hashes are not compared.
    embedding: column of vectors, "" for none.
    min_similarity: cosine of vectors from which on two images count as one; 0
      for none.
    seed: of the clusters within which vectors are compared.
  """

  max_distance: int = 31
  min_pdq_quality: int = 50
  embedding: str = ""
  min_similarity: float = 0.0
  seed: int = 0

  @property
  def compares_hashes(self) -> bool:
    return self.max_distance >= 0

  @property
  def compares_vectors(self) -> bool:
    return bool(self.embedding) and self.min_similarity > 0


def find_groups(
  rows: Rows,
  candidates: np.ndarray,
  tables: pathlib.Path,
  engine: Engine,
  how: Nearness,
) -> np.ndarray:
  """Connected components of near rows.

  Args:
    rows: of the pool.
    candidates: those that are looked at.
    tables: directory for files; of `near-...` in it one stays.
    engine: does the units.
    how: what counts as near.

  Returns:
    For each candidate the place of the first one in its group.
  """
  given = tables / "near-new"
  shutil.rmtree(given, ignore_errors=True)
  given.mkdir()
  hashed, embedded = _write_tables(rows, candidates, given, how)
  digest = _hash(given, (hashed, embedded), (len(candidates), how))
  made = tables / f"near-{digest[:16]}"
  for other in tables.glob("near-*"):
    if other not in (made, given):
      shutil.rmtree(other)
  if made.exists():
    shutil.rmtree(given)
  else:
    given.rename(made)
  target = made / "groups.npy"
  if not target.exists():
    pairs = itertools.chain(
      _near_hashes(made, hashed, engine, how),
      _near_vectors(made, embedded, engine, how),
    )
    duplicates.save(target, duplicates.connect(len(candidates), pairs))
    for path in made.iterdir():
      if path != target:
        path.unlink()
  return np.load(target)


def _write_tables(
  rows: Rows, candidates: np.ndarray, directory: pathlib.Path, how: Nearness
) -> tuple[np.ndarray, np.ndarray]:
  """Writes hashes and vectors; returns the places that have them."""
  hashed = embedded = np.empty(0, np.int64)
  if how.compares_hashes:
    quality = rows.numbers(_PDQ_QUALITY, candidates)
    hashed = np.flatnonzero(quality >= how.min_pdq_quality)
    path = directory / _HASHES
    hashed = hashed[rows.write_arrays(PDQ, candidates[hashed], path)]
  if how.compares_vectors:
    path = directory / _VECTORS
    embedded = np.flatnonzero(
      rows.write_arrays(how.embedding, candidates, path)
    )
  return hashed, embedded


def _hash(directory: pathlib.Path, places: tuple, others: tuple) -> str:
  digest = hashlib.sha256(f"{_VERSION} {others}".encode())
  for array in places:
    digest.update(f"{len(array)}".encode())
    digest.update(array)
  for path in sorted(directory.iterdir()):
    digest.update(path.name.encode())
    with open(path, "rb") as file:
      while data := file.read(units.BLOCK):
        digest.update(data)
  return digest.hexdigest()


def _near_hashes(
  made: pathlib.Path, places: np.ndarray, engine: Engine, how: Nearness
) -> Iterator[np.ndarray]:
  if not len(places):
    return
  number = -(-len(places) // duplicates.SLICE)
  bands = duplicates.SortBands(made / _HASHES, made)
  running.do_units(engine, bands, range(number), bands.path, "bands")
  find = duplicates.FindPairs(bands, number, number, how.max_distance)
  parts = range(duplicates.NUM_BANDS * number)
  running.do_units(engine, find, parts, find.path, "near hashes")
  for part in parts:
    yield places[np.load(find.path(part))]


def _near_vectors(
  made: pathlib.Path, places: np.ndarray, engine: Engine, how: Nearness
) -> Iterator[np.ndarray]:
  if not len(places):
    return
  labels = made / _LABELS
  if not labels.exists():
    vectors = np.load(made / _VECTORS, mmap_mode="r")
    duplicates.save(labels, similar.cluster(vectors, how.seed))
  number = -(-len(places) // duplicates.SLICE)
  find = similar.FindSimilar(
    made / _VECTORS, labels, made, number, how.min_similarity
  )
  parts = range(number)
  running.do_units(engine, find, parts, find.path, "similar")
  for part in parts:
    yield places[np.load(find.path(part))]
