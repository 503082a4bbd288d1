"""Damaged weights: an error that names the place, or the same numbers."""

import pathlib
import random

import jax
import numpy as np
import pytest

from sapiens2_jax.architectures import custom_architecture
from sapiens2_jax.interop import exports, weights
from tests.interop import samples

COUNT = 1000
ARCH = custom_architecture(16, 2, 2, 1, 1)
PLACES = ("file", "sharded", "exported", "imported")
WORDS = (
  *(b"9" * 400, b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"\\"),
  *(b"[" * 3000, b"\xff", b"\x00", b"blocks.99999999999.ln1.weight", b"../a"),
  *(b"F64", b"I32", b"true", b"0", b",", b": ", b"\xef\xbb\xbf"),
)


def _write(root: pathlib.Path, named: dict) -> None:
  """Weights of every kind that can be read."""
  samples.write(root / "file" / "model.safetensors", named)
  samples.write_shards(root / "sharded", named)
  found = weights.find_weights(root / "file")
  loaded = weights.read_weights(found)
  request = exports.make_request(found, "transformers", None)
  limit = sum(x.nbytes for x in named.values()) // 2
  exports.write_export(str(root / "exported"), found, loaded, request, limit)
  weights.write_import(str(root / "imported"), loaded, found)


def _read(path: pathlib.Path) -> tuple:
  """All that others take from weights."""
  loaded = weights.read_weights(weights.find_weights(path))
  facts = loaded.architecture, loaded.image_size, loaded.layer_scale_init
  return *facts, jax.tree.map(np.asarray, loaded.params)


def _damage(rng: random.Random, data: bytes, end: int) -> bytes:
  """Changes some of the first `end` bytes, or the length of all."""
  at = rng.randrange(end)
  size = rng.choice((1, 1, 2, 8, 100))
  ways = (
    lambda: (
      data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    ),
    lambda: data[:at] + rng.randbytes(min(size, end - at)) + data[at + size :],
    lambda: data[:at] + rng.choice(WORDS) + data[at + size :],
    lambda: data[:at] + data[at + size :],
    lambda: data[:at] + data[at : at + size] + data[at:],
    lambda: data[: rng.randrange(len(data))],
    lambda: data + rng.randbytes(size),
    lambda: b"",
  )
  (way,) = rng.choices(ways, (4, 3, 4, 2, 2, 1, 1, 0.2))
  return way()


def _renamed(rng: random.Random, named: dict) -> dict:
  """Tensors of other names or shapes, in a file that is whole."""
  named = dict(named)
  for key in rng.sample(sorted(named), rng.randint(1, 3)):
    array, way = named.pop(key), rng.randrange(4)
    if way == 0:
      key = rng.choice(("module.", "model.", "net.", "", ".")) + key
    elif way == 1:
      number = rng.choice(("9" * 30, "7777", "-1", "01", "1.5"))
      key = key.replace("1", number)
    elif way == 2:
      array = array.reshape(rng.choice(((-1,), (1, -1), array.shape[::-1])))
    else:
      end = rng.choice(("", "é", ".", "x" * 999))
      key = key[: rng.randrange(len(key))] + end
    named[key] = array
  return named


def _damaged(
  rng: random.Random, place: pathlib.Path, named: dict
) -> tuple[pathlib.Path, bytes]:
  """Damages a file of a place; returns which, and what it held."""
  files = sorted(path for path in place.rglob("*") if path.is_file())
  files = [path for path in files if path.name != exports.CARD]
  file = rng.choice(files)
  data = file.read_bytes()
  if place.name == "file" and rng.random() < 0.5:
    samples.write(file, _renamed(rng, named))
    return file, data
  end = len(data)
  if place.name in ("file", "sharded") and file.suffix == ".safetensors":
    # No checksum is beside them, so only the header can be known to be wrong.
    end = 8 + int.from_bytes(data[:8], "little")
  file.write_bytes(_damage(rng, data, end))
  return file, data


def run(root: pathlib.Path, seeds: range) -> dict[str, int]:
  """Counts outcomes; raises for one that is neither error nor equal."""
  named = samples.arrays(ARCH)
  _write(root, named)
  expected = {place: _read(root / place) for place in PLACES}
  counts = {"error": 0, "equal": 0}
  for seed in seeds:
    rng = random.Random(seed)
    place = root / rng.choice(PLACES)
    file, whole = _damaged(rng, place, named)
    name = file.relative_to(root)
    try:
      found = _read(place)
    except (ValueError, OSError) as error:
      assert str(place) in str(error), (seed, name, error)
      counts["error"] += 1
    except Exception as error:
      error.add_note(f"seed {seed}: {name}")
      raise
    else:
      facts, params = expected[place.name][:-1], expected[place.name][-1]
      assert found[:-1] == facts, (seed, name)
      jax.tree.map(np.testing.assert_array_equal, found[-1], params)
      counts["equal"] += 1
    file.write_bytes(whole)
  return counts


@pytest.mark.slow
def test_damaged_weights_give_an_error_or_the_same_numbers(tmp_path):
  counts = run(tmp_path / "weights", range(COUNT))
  assert counts["error"] > COUNT // 2 and counts["equal"] > COUNT // 100
