"""How far PDQ finds edits of one portrait, and whether it merges others."""

from __future__ import annotations

import collections
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.curation import duplicates
from data_pipelines.curation.photographs import fetching, labels
from data_pipelines.curation.scorers import hashes

ORIGINAL = "original"
DISTANCES = (0, 7, 15, 31, 47, 63)  # bits
MAX_DISTANCE, MIN_QUALITY = 31, 50  # Those of a curation.
_BAND = 32 // duplicates.NUM_BANDS  # bytes


def read_edits() -> list[labels.Labelled]:
  """A portrait and its edits, of which `kind` says what was done."""
  return labels.read_labels(pathlib.Path(__file__).with_name("edits.json"))


def share_band(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Whether hashes of (..., 32) uint8 have one of their bands in common."""
  equal = one == other
  bands = equal.reshape(*equal.shape[:-1], duplicates.NUM_BANDS, _BAND)
  return bands.all(axis=-1).any(axis=-1)


def find_merges(
  found: np.ndarray, qualities: np.ndarray, max_distance: int
) -> list[tuple[int, int]]:
  """All pairs of rows that are that near; as if every pair was compared."""
  kept = np.flatnonzero(qualities >= MIN_QUALITY)
  pairs = []
  for row, other in itertools.combinations(kept, 2):
    if duplicates.count_bits(found[row] ^ found[other]) <= max_distance:
      pairs.append((int(row), int(other)))
  return pairs


def judge_edits(root: pathlib.Path) -> Iterator[str]:
  """Lines of a table: for each kind of edit how near, how many are found."""
  edits = read_edits()
  found, qualities = _hash(root, edits)
  (original,) = (i for i, e in enumerate(edits) if e.kind == ORIGINAL)
  distances = duplicates.count_bits(found ^ found[original])
  is_usable = qualities >= MIN_QUALITY
  is_near = is_usable & (distances <= MAX_DISTANCE)
  is_found = is_near & share_band(found, found[original])
  rows = collections.defaultdict(list)
  for index, edit in enumerate(edits):
    if index != original:
      rows[edit.kind].append(index)
  yield "edit | images | bits | at most 31 bits | and a band in common"
  for kind, some in rows.items():
    low, high = distances[some].min(), distances[some].max()
    yield (
      f"{kind} | {len(some)} | {low} to {high} | {is_near[some].sum()} | "
      f"{is_found[some].sum()}"
    )
  some = [index for part in rows.values() for index in part]
  for limit in DISTANCES:
    within = is_usable[some] & (distances[some] <= limit)
    yield labels.describe(f"edits within {limit} bits", within.sum(), len(some))
  yield labels.describe("edits found", is_found[some].sum(), len(some))


def judge_merges(
  root: pathlib.Path, photographs: Sequence[labels.Labelled]
) -> Iterator[str]:
  """Lines about labelled images that PDQ takes for the same."""
  found, qualities = _hash(root, photographs)
  pairs = find_merges(found, qualities, MAX_DISTANCE)
  is_person = [image.kind == labels.PERSON for image in photographs]
  people = [pair for pair in pairs if all(is_person[row] for row in pair)]
  usable = int((qualities >= MIN_QUALITY).sum())
  yield (
    f"{len(pairs)} of {usable * (usable - 1) // 2} pairs of {usable} images "
    f"are at most {MAX_DISTANCE} bits apart, {len(people)} of people"
  )
  for row, other in pairs:
    one, two = photographs[row], photographs[other]
    yield f"  {one.kind} {one.member}  {two.kind} {two.member}"


def _hash(
  root: pathlib.Path, some: Sequence[labels.Labelled]
) -> tuple[np.ndarray, np.ndarray]:
  """(n, 32) uint8 PDQ and (n,) its quality."""
  scorer = hashes.Hashes()
  scorer.load()
  made = [
    scorer.score([fetching.read_image(root, image)], [{}])[0] for image in some
  ]
  bits = np.array([list(one["pdq"]) for one in made], np.uint8)
  return bits, np.array([one["pdq_quality"] for one in made])
