"""Damages files, in ways that disks, copies and people do; from a seed."""

from __future__ import annotations

import pathlib
import re
import shutil

import numpy as np

_BLOCK = 512  # bytes that a disk loses at once


def damage(data: bytes, random: np.random.Generator) -> bytes:
  """Bytes that differ from `data`, at least one byte."""
  while True:
    kind = random.integers(7)
    place = int(random.integers(len(data)))
    out = bytearray(data)
    if kind == 0:
      out[place] ^= 1 << random.integers(8)
    elif kind == 1:
      out[place] = random.integers(256)
    elif kind == 2:
      out = out[:place]
    elif kind == 3:
      start = place // _BLOCK * _BLOCK
      block = min(len(out), start + _BLOCK * int(random.integers(1, 9)))
      out[start:block] = bytes(block - start)
    elif kind == 4:
      out[place:] = bytes(len(out) - place)
    elif kind == 5:
      out += random.bytes(int(random.integers(1, 2 * _BLOCK)))
    else:
      out = out[:place] + random.bytes(int(random.integers(1, 9))) + out[place:]
    if bytes(out) != data:
      return bytes(out)


def damage_text(data: bytes, random: np.random.Generator) -> bytes:
  """Other digits somewhere in text, as a careless edit makes them."""
  numbers = list(re.finditer(rb"\d+", data))
  found = numbers[random.integers(len(numbers))]
  other = str(int(random.integers(10))).encode()
  place = found.start() + int(random.integers(len(found[0])))
  return data[:place] + other + data[place + 1 :]


def damage_directory(
  directory: pathlib.Path, random: np.random.Generator
) -> str:
  """Damages one file, or mixes up two.

  Returns:
    What was done.
  """
  paths = sorted(path for path in directory.rglob("*") if path.is_file())
  path = paths[random.integers(len(paths))]
  kind = random.integers(6)
  if kind == 0:
    path.unlink()
    return f"removed {path.name}"
  alike = [p for p in paths if p.suffix == path.suffix and p != path]
  if kind in (1, 2) and alike:
    other = alike[random.integers(len(alike))]
    if kind == 1:
      shutil.copy(other, path)
      return f"{other.name} also as {path.name}"
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)
    return f"swapped {path.name} and {other.name}"
  if kind == 3 and path.suffix == ".json":
    path.write_bytes(damage_text(path.read_bytes(), random))
    return f"other digit in {path.name}"
  path.write_bytes(damage(path.read_bytes() or b"\0", random))
  return f"damaged {path.name}"
