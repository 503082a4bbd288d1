import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from data_pipelines.building import (
  dedup,
  packing,
  scan,
  workspace,
)
from data_pipelines.common import worker_pool

PIECE_SIZE = 4


def _write_pieces(building, keys):
  """Scanned pieces of images by key; None is rejected. Names are numbers."""
  for piece in range(0, len(keys), PIECE_SIZE):
    number = piece // PIECE_SIZE
    offsets, usable, hashes, text = [0], [], [], b""
    for row, key in enumerate(keys[piece : piece + PIECE_SIZE]):
      line = {"name": str(piece + row)}
      if key is None:
        line |= {"reason": "broken", "detail": ""}
      else:
        usable.append(row)
        hashes.append(key)
      text += json.dumps(line).encode() + b"\n"
      offsets.append(len(text))
    scan._rows_path(building, number).write_bytes(text)
    np.savez(
      scan._arrays_path(building, number),
      offset=np.array(offsets),
      row=np.array(usable, np.int64),
      hash=np.array(hashes, "S32"),
    )
  return -(-len(keys) // PIECE_SIZE)


def _keys():
  # Hashes that differ at the front, at the end, and in trailing zeros only.
  return strategies.sampled_from(
    [None]
    + [
      bytes([front]) + bytes(30) + bytes([end])
      for front in (0, 9, 250)
      for end in (0, 1)
    ]
    + [b"a" * 31 + b"\0", b"a" * 30 + b"\0\0"]
  )


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(strategies.lists(_keys(), min_size=1, max_size=40))
@pytest.mark.parametrize("partition_size", [4, 9, 1000])
def test_the_first_of_equal_images_is_kept(
  tmp_path_factory, partition_size, keys
):
  sizes = workspace.Sizes(PIECE_SIZE, partition_size, block=2)
  first, same_as, rejected = {}, {}, []
  for number, key in enumerate(keys):
    if key is None:
      rejected.append(str(number))
    elif first.setdefault(key, number) != number:
      same_as[str(number)] = str(first[key])
  output = tmp_path_factory.mktemp("a") / "out"
  with (
    workspace.open_building(output, {}, sizes) as building,
    worker_pool.WorkerPool(0) as workers,
  ):
    num_pieces = _write_pieces(building, keys)
    if not first:
      with pytest.raises(workspace.InputError, match=f"none of {len(keys)} fi"):
        dedup.find_duplicates(building, num_pieces, workers)
      return
    num_kept = dedup.find_duplicates(building, num_pieces, workers)
    kept = [
      number * PIECE_SIZE + row
      for number in range(num_pieces)
      for row in dedup.kept_rows(
        building, number, scan.ScannedPiece(building, number)
      )
    ]
    counts = list(dedup.read_kept_counts(building, num_pieces))
    left_out = list(dedup.read_left_out(building, num_pieces, "rejected"))
    copies = list(dedup.read_left_out(building, num_pieces, "duplicates"))
  assert kept == sorted(first.values())
  assert num_kept == sum(counts) == len(kept)
  assert counts == [
    sum(row // PIECE_SIZE == number for row in kept)
    for number in range(num_pieces)
  ]
  assert {row["name"]: row["same_as"] for row in copies} == same_as
  assert len(copies) == len(same_as)
  assert left_out == [
    {"name": name, "reason": "broken", "detail": ""} for name in rejected
  ]


@hypothesis.given(
  strategies.lists(strategies.integers(0, 5), max_size=20),
  strategies.integers(1, 12),
)
def test_shards_follow_one_another_and_are_full(counts, shard_size):
  shards = list(packing.plan_shards(counts, sum(counts), shard_size))
  rows = [(piece, row) for piece, n in enumerate(counts) for row in range(n)]
  assert sum(shard.num_records for shard in shards) == len(rows)
  for number, shard in enumerate(shards):
    assert shard.number == number and shard.num_shards == len(shards)
    assert (shard.piece, shard.skip) == rows[number * shard_size]
    assert shard.num_records == shard_size or number == len(shards) - 1
    assert shard.num_records > 0
