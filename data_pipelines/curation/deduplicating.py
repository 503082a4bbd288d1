"""The stages that look at duplicates: take-down, exact copies, near ones."""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines.common import packages
from data_pipelines.curation import duplicates
from data_pipelines.curation.deciding import Decisions
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.rows import Rows

EXACT, NEAR = "exact duplicate", "near duplicate"
TAKEN_DOWN, NEAR_TAKEN_DOWN = "taken down", "near a taken down image"
PDQ, _PDQ_QUALITY = "hashes_pdq", "hashes_pdq_quality"
NUM_PIXELS = "num_pixels"


def take_down(
  rows: Rows, decisions: Decisions, listed: frozenset[str]
) -> np.ndarray:
  """Removes images by their hash; returns the rows that were removed."""
  mask = np.array([name in listed for name in rows.texts("content_hash")], bool)
  removed = np.flatnonzero(mask & (decisions.codes == 0))
  if listed:
    decisions.reject("take-down", [(mask, TAKEN_DOWN)])
  return removed


def remove_exact(
  rows: Rows, decisions: Decisions, tables: pathlib.Path, engine: Engine
) -> None:
  """Of rows with the same bytes keeps the one with the least key."""
  parquet = packages.require("pyarrow.parquet", "curation")
  kept, keys = decisions.kept, np.array(rows.texts("key"), object)
  source, target = tables / "exact.parquet", tables / "least.parquet"
  parquet.write_table(
    rows.table.select(["content_hash", "key"]).take(kept), source
  )
  engine.run(duplicates.keep_least, str(source), str(target))
  least = parquet.read_table(target).to_pydict()
  least = dict(zip(least["content_hash"], least["key"]))
  hashes = rows.texts("content_hash")
  is_copy, first = np.zeros(len(rows), bool), {}
  for row in kept:
    if keys[row] == least[hashes[row]]:
      first[hashes[row]] = row
    else:
      is_copy[row] = True
  for row in np.flatnonzero(is_copy):
    decisions.same_as[row] = first[hashes[row]]
  decisions.reject("exact", [(is_copy, EXACT)])


def remove_near(
  rows: Rows,
  decisions: Decisions,
  taken_down: np.ndarray,
  tables: pathlib.Path,
  engine: Engine,
  *,
  max_distance: int,
  min_quality: int,
  best: tuple[str, ...],
) -> None:
  """Of near images keeps the best; none that is near a taken down one.

  Args:
    rows, decisions: of the pool.
    taken_down: rows that were removed, whose near ones are removed as well.
    tables: directory for what the engine reads and writes.
    engine: groups.
    max_distance: bits; see `duplicates`.
    min_quality: of PDQ; images below are near to none.
    best: columns; see `duplicates.find_best`.
  """
  candidates = np.union1d(decisions.kept, taken_down)
  quality = rows.numbers(_PDQ_QUALITY)[candidates]
  candidates = candidates[quality >= min_quality]
  found = rows.values(PDQ, candidates)
  hashes = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)
  source, target = tables / "hashes.npy", tables / "pairs.npy"
  np.save(source, hashes)
  engine.run(duplicates.find_pairs, str(source), str(target), max_distance)
  components = duplicates.connect(len(candidates), np.load(target))
  is_down = np.isin(candidates, taken_down)
  order = [
    (~is_down).astype(float),
    *(_numbers(rows, name)[candidates] for name in best),
  ]
  # The least row is the least content hash.
  same_as = candidates[duplicates.find_best(components, order)]
  has_down = np.zeros(len(candidates), bool)
  np.logical_or.at(has_down, components, is_down)
  near_down, near = np.zeros((2, len(rows)), bool)
  near_down[candidates[has_down[components]]] = True
  near[candidates[same_as != candidates]] = True
  is_copy = near & ~near_down & (decisions.codes == 0)
  decisions.same_as[candidates] = np.where(
    is_copy[candidates], same_as, decisions.same_as[candidates]
  )
  decisions.reject("near", [(near_down, NEAR_TAKEN_DOWN), (near, NEAR)])


def _numbers(rows: Rows, name: str) -> np.ndarray:
  if name == NUM_PIXELS:
    return rows.numbers("height") * rows.numbers("width")
  return rows.numbers(name)
