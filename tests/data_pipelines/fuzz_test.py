"""Damaged files end in the right records, or in errors that name them.

Seeds are fixed. More of the same, with a table of what came out:

    python -m tests.data_pipelines.fuzz_test SEED COUNT
"""

from __future__ import annotations

import collections
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image

from data_pipelines import sources
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus import records, writer
from data_pipelines.open_source import open_source
from tests.data_pipelines import mutations

pytestmark = pytest.mark.slow

SIZE = 16, 12


def photo(seed: int) -> np.ndarray:
  small = np.random.default_rng(seed).integers(0, 255, (3, 3, 3), np.uint8)
  image = Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC)
  return np.asarray(image)


def encode(seed: int, kind: str) -> bytes:
  with tempfile.SpooledTemporaryFile() as file:
    Image.fromarray(photo(seed)).save(file, kind)
    file.seek(0)
    return file.read()


def make_corpus(directory: pathlib.Path) -> None:
  """Three shards of two images; two of the shards have the same size."""
  entries = []
  for number, kind in enumerate(("BMP", "BMP", "PNG")):
    found = []
    for seed in (2 * number, 2 * number + 1):
      image = encode(seed, kind)
      name, content_hash = f"{seed}.{kind}", records.hash_content(image)
      labels = bytes(range(seed, seed + 40))
      found.append(
        records.Record(image, *SIZE, content_hash, name, labels=labels)
      )
    shard_id = writer.number_shard(number, 3)
    compress = kind == "PNG"
    entries.append(
      writer.write_shard(directory, shard_id, found, compress=compress)
    )
  writer.commit(directory, entries)


def read_records(spec: pathlib.Path) -> tuple[list, list[str]]:
  """Records (None: not usable) of a dataset, and what it says is wrong."""
  found, said = [], []
  try:
    source = open_source(spec)
  except (ValueError, sources.ShardReadError) as error:
    return [], [str(error)]
  for index in range(len(source)):
    try:
      found.append(source[index])
    except (UnusableExample, sources.ShardReadError) as error:
      found.append(None)
      said.append(f"{source.name(index)}: {error}")
  return found, said


def judge(found: list, said: list[str], right: list) -> str:
  """What became of damage; "silent" is wrong."""
  if found == right and not said:
    return "right"
  if not said:
    return "silent"
  if not found:
    return "refused"
  pairs = zip(found, right, strict=True)
  return "named" if all(a in (None, b) for a, b in pairs) else "silent"


def fuzz_corpora(seed: int, count: int) -> collections.Counter:
  """What becomes of damaged corpora; raises what no reader may raise."""
  outcomes = collections.Counter()
  with tempfile.TemporaryDirectory() as temporary:
    whole, copy = pathlib.Path(temporary, "a"), pathlib.Path(temporary, "b")
    make_corpus(whole)
    right, _ = read_records(whole)
    for number in range(count):
      random = np.random.default_rng([seed, number])
      shutil.copytree(whole, copy)
      done = mutations.damage_directory(copy, random)
      outcome = judge(*read_records(copy), right)
      outcomes[outcome] += 1
      if outcome == "silent":
        print(f"seed {seed}, case {number}: silent: {done}")
      shutil.rmtree(copy)
  return outcomes


def test_damaged_corpora_give_their_records_or_say_what_is_wrong():
  outcomes = fuzz_corpora(seed=1, count=500)
  assert not outcomes["silent"]
  assert outcomes["right"] and outcomes["named"] and outcomes["refused"]


if __name__ == "__main__":
  seed, count = map(int, sys.argv[1:])
  for fuzz in (fuzz_corpora,):
    print(fuzz.__name__, dict(fuzz(seed, count)))
