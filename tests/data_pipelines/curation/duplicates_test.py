"""Near-duplicates against all pairs, components and choices against loops."""

import itertools

import hypothesis
import numpy as np
from hypothesis import strategies

from data_pipelines.curation import duplicates

SEEDS = strategies.integers(0, 2**32 - 1)


def make_hashes(seed, num_rows, max_flips=40):
  """A few random hashes, and others some bits away from one before."""
  generator = np.random.default_rng(seed)
  rows = [generator.integers(0, 2, 256) for _ in range(3)]
  while len(rows) < num_rows:
    row = rows[generator.integers(len(rows))].copy()
    row[generator.integers(0, 256, generator.integers(0, max_flips))] ^= 1
    rows.append(row)
  return np.packbits(np.array(rows, np.uint8), axis=1)


def all_pairs(hashes, max_distance):
  """Of each near pair its distance, and whether a band is equal."""
  found = {}
  for a, b in itertools.combinations(range(len(hashes)), 2):
    distance = sum(int(x ^ y).bit_count() for x, y in zip(hashes[a], hashes[b]))
    if distance <= max_distance:
      bands = (hashes[a] == hashes[b]).reshape(8, 4).all(axis=1)
      found[a, b] = distance, bands.any()
  return found


def find(directory, hashes, max_distance, slice_size=7, num_parts=3):
  """All units, one after the other."""
  np.save(directory / "hashes.npy", hashes)
  bands = duplicates.SortBands(directory / "hashes.npy", directory, slice_size)
  slices = range(-(-len(hashes) // slice_size))
  find = duplicates.FindPairs(bands, len(slices), num_parts, max_distance)
  parts = range(8 * num_parts)
  for job, units in ((bands, slices), (find, parts)):
    for unit in units:
      job(unit)
  return np.concatenate([np.load(find.path(part)) for part in parts])


@hypothesis.settings(
  max_examples=10,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(SEEDS, strategies.sampled_from([0, 7, 31]))
def test_pairs_are_those_of_all_pairs_with_a_band_in_common(
  tmp_path, seed, max_distance
):
  hashes = make_hashes(seed, 25)
  expected = all_pairs(hashes, max_distance)
  found = set(map(tuple, find(tmp_path, hashes, max_distance).tolist()))
  assert found == {pair for pair, (_, shared) in expected.items() if shared}
  # Eight bands, so seven bits leave one as it is.
  assert found >= {pair for pair, (bits, _) in expected.items() if bits <= 7}


def test_leaders_connect_a_crowd_with_few_pairs(tmp_path):
  centers = make_hashes(0, 3)
  hashes = np.repeat(centers, [400, 400, 400], axis=0)
  hashes[:, :4] = 9  # One band in common, by chance.
  bits = np.unpackbits(hashes, axis=1)
  bits[np.arange(1200), 40 + np.arange(1200) % 200] ^= 1
  hashes = np.packbits(bits, axis=1)
  pairs = find(tmp_path, hashes, 10)
  assert len(pairs) < 8 * 1200
  components = duplicates.connect(1200, [pairs])
  assert components.tolist() == [0] * 400 + [400] * 400 + [800] * 400


@hypothesis.given(
  strategies.integers(1, 30).flatmap(
    lambda n: strategies.tuples(
      strategies.just(n),
      strategies.lists(
        strategies.tuples(*[strategies.integers(0, n - 1)] * 2), max_size=40
      ),
    )
  )
)
def test_components_are_those_of_a_walk(graph):
  num_rows, pairs = graph
  near = {row: {row} for row in range(num_rows)}
  for a, b in pairs:
    near[a].add(b), near[b].add(a)
  expected = [-1] * num_rows
  for start in range(num_rows):
    todo = [start] if expected[start] < 0 else []
    while todo:
      row = todo.pop()
      if expected[row] < 0:
        expected[row] = start
        todo += near[row]
  pairs = np.array(pairs, np.int64).reshape(-1, 2)
  for step in (len(pairs) + 1, 3):  # At once, and piece by piece.
    pieces = [pairs[i : i + step] for i in range(0, len(pairs), step)]
    assert duplicates.connect(num_rows, pieces).tolist() == expected


@hypothesis.given(SEEDS)
def test_the_best_is_the_first_by_the_order(seed):
  generator = np.random.default_rng(seed)
  groups = generator.integers(0, 5, 20)
  components = np.array([np.flatnonzero(groups == g)[0] for g in groups])
  order = generator.choice([1.0, 2.0, np.nan], (2, 20))
  best = duplicates.find_best(components, list(order))
  filled = np.where(np.isnan(order), -np.inf, order)
  for row, component in enumerate(components):
    members = np.flatnonzero(components == component)
    expected = max(members, key=lambda m: (*filled[:, m], -m))
    assert best[row] == expected
