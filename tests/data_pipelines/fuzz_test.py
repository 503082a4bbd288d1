"""Damaged files end in the right records, or in errors that name them.

Seeds are fixed. More of the same, with a table of what came out:

    python -m tests.data_pipelines.fuzz_test SEED COUNT
"""

from __future__ import annotations

import collections
import pathlib
import shutil
import sys
import tarfile
import tempfile

import numpy as np
import pytest
from PIL import Image

from data_pipelines import sources
from data_pipelines.common import images, kinds, tars
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus import records, writer
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora, mutations

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


LONG = "a folder of a very long name/" * 6


def make_tar(format: int) -> bytes:
  """Six PNG files, whose own checksums tell damaged pixels, and notes.

  The last one is larger than tar's padding: what is lost within that cannot
  be told from it.
  """
  files = {"notes.txt": b"none of them is an image"}
  for seed in range(5):
    name = f"{LONG if seed == 3 else ''}{seed}"
    files[f"{name}.png"] = encode(seed, "PNG") + bytes(600 * (seed % 2))
    files[f"{name}.json"] = b"{}"
  files["5.png"] = encode(5, "PNG") + b"behind its end" * 1000
  return corpora.make_tar(files, format)


def read_tar(path: pathlib.Path) -> tuple[list, list[str]]:
  """Pixels (None: not usable) of a tar's images, and what is left out."""
  left_out = kinds.LeftOut()
  try:
    members = [image for image, _ in tars.list_images(path, left_out)]
  except tars.TarError as error:
    return [], [str(error)]
  said = [f"{kind} left out" for kind in left_out.counts if kind != ".txt"]
  found, data = [], path.read_bytes()
  for member in members:
    try:
      image = data[member.start : member.start + member.size]
      found.append(images.decode_image(image).tolist())
    except images.ImageDecodeError as error:
      said.append(f"{member.name}: {error}")
      found.append(None)
  return found, said


def fuzz_tars(seed: int, count: int) -> collections.Counter:
  """What becomes of damaged tars; raises what no reader may raise."""
  outcomes = collections.Counter()
  with tempfile.TemporaryDirectory() as temporary:
    path = pathlib.Path(temporary, "a.tar")
    for number in range(count):
      whole = make_tar((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[number % 2])
      path.write_bytes(whole)
      right, _ = read_tar(path)
      random = np.random.default_rng([seed, number])
      path.write_bytes(mutations.damage(whole, random))
      found, said = read_tar(path)
      if said and 0 < len(found) < len(right):
        assert all(pixels is None or pixels in right for pixels in found)
        found = [pixels if pixels in found else None for pixels in right]
      outcome = judge(found, said, right)
      outcomes[outcome] += 1
      if outcome == "silent":
        print(f"seed {seed}, case {number}: silent")
  return outcomes


def test_damaged_tars_give_their_images_or_say_what_is_wrong():
  outcomes = fuzz_tars(seed=2, count=600)
  assert not outcomes["silent"]
  assert outcomes["right"] and outcomes["named"] and outcomes["refused"]


KINDS = [kind for kind in images.FORMATS if kind != "HEIF"]


def fuzz_images(seed: int, count: int) -> collections.Counter:
  """What becomes of damaged images; raises what no reader may raise.

  Most formats have no checksum, so other pixels are not wrong; another size
  than the header says is.
  """
  outcomes = collections.Counter()
  for number in range(count):
    random = np.random.default_rng([seed, number])
    data = mutations.damage(encode(number, KINDS[number % len(KINDS)]), random)
    try:
      height, width = images.image_size(data)
      pixels = images.decode_image(data, max_pixels=2**20)
      outcomes["pixels"] += 1
      assert pixels.shape == (height, width, 3) and pixels.dtype == np.uint8
    except images.ImageDecodeError as error:
      assert error.reason
      outcomes[error.reason] += 1
  return outcomes


@pytest.mark.filterwarnings("ignore")  # PIL's, of files that are odd.
def test_damaged_images_are_decoded_or_refused_with_a_reason():
  outcomes = fuzz_images(seed=3, count=500)
  assert outcomes["pixels"] and outcomes["corrupt"] and outcomes["truncated"]


if __name__ == "__main__":
  seed, count = map(int, sys.argv[1:])
  for fuzz in (fuzz_corpora, fuzz_tars, fuzz_images):
    print(fuzz.__name__, dict(fuzz(seed, count)))
