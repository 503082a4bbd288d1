"""The stages that look at duplicates: take-down, exact copies, near ones."""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines.curation import duplicates, nearness, ordering, units
from data_pipelines.curation.deciding import Decisions
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.rows import Rows

EXACT, NEAR = "exact duplicate", "near duplicate"
TAKEN_DOWN, NEAR_TAKEN_DOWN = "taken down", "near a taken down image"
NUM_PIXELS = "num_pixels"


def take_down(
  rows: Rows, decisions: Decisions, listed: frozenset[str]
) -> np.ndarray:
  """Removes images by their hash; returns the rows that were removed."""
  mask = np.zeros(len(rows), bool)
  if not listed:
    return np.flatnonzero(mask)
  wanted = ordering.parse_hex("".join(listed).encode(), 64)
  wanted = np.sort(ordering.read_prefix(wanted))
  for start in range(0, rows.num_content, units.BLOCK):
    found = np.arange(start, min(start + units.BLOCK, rows.num_content))
    content = rows.content(found)
    some = np.flatnonzero(np.isin(ordering.read_prefix(content), wanted))
    for place in some:
      mask[start + place] = content[place].tobytes().hex() in listed
  removed = np.flatnonzero(mask & (decisions.codes == 0))
  decisions.reject("take-down", [(mask, TAKEN_DOWN)])
  return removed


def remove_exact(rows: Rows, decisions: Decisions) -> None:
  """Of rows with the same bytes keeps the first: that with the least key."""
  kept = decisions.kept
  starts = np.flatnonzero(np.diff(rows.first[kept], prepend=-1))
  sizes = np.diff(np.append(starts, len(kept)))
  same_as = np.repeat(kept[starts], sizes)
  copies = kept[same_as != kept]
  decisions.same_as[copies] = same_as[same_as != kept]
  is_copy = np.zeros(len(rows), bool)
  is_copy[copies] = True
  decisions.reject("exact", [(is_copy, EXACT)])


def remove_near(
  rows: Rows,
  decisions: Decisions,
  taken_down: np.ndarray,
  tables: pathlib.Path,
  engine: Engine,
  how: nearness.Nearness,
  best: tuple[str, ...],
) -> None:
  """Of near images keeps the best; none that is near a taken down one.

  Args:
    rows, decisions: of the pool.
    taken_down: rows that were removed, whose near ones are removed as well.
    tables: directory for what the units read and write.
    engine: does them.
    how: what counts as near.
    best: columns; see `duplicates.find_best`.
  """
  is_candidate = decisions.codes == 0
  is_candidate[taken_down] = True
  candidates = np.flatnonzero(is_candidate)
  groups = nearness.find_groups(rows, candidates, tables, engine, how)
  # Most are near to none, and need not be looked at.
  is_grouped = groups != np.arange(len(groups))
  is_grouped[groups[is_grouped]] = True
  members = np.flatnonzero(is_grouped)
  groups = np.searchsorted(members, groups[members])
  members = candidates[members]
  is_down = np.isin(members, taken_down)
  order = [
    (~is_down).astype(float),
    *(_numbers(rows, name, members) for name in best),
  ]
  # The least row is the least content hash.
  same_as = members[duplicates.find_best(groups, order)]
  has_down = np.zeros(len(members), bool)
  np.logical_or.at(has_down, groups, is_down)
  near_down, near = np.zeros((2, len(rows)), bool)
  near_down[members[has_down[groups]]] = True
  near[members[same_as != members]] = True
  is_copy = (near & ~near_down & (decisions.codes == 0))[members]
  decisions.same_as[members[is_copy]] = same_as[is_copy]
  decisions.reject("near", [(near_down, NEAR_TAKEN_DOWN), (near, NEAR)])


def _numbers(rows: Rows, name: str, some: np.ndarray) -> np.ndarray:
  if name == NUM_PIXELS:
    return rows.numbers("height", some) * rows.numbers("width", some)
  return rows.numbers(name, some)
