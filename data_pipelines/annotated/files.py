"""Files of annotations and labels: read, and named when they are wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipelines.common import images, kinds, storage
from data_pipelines.sources import base

_MAX_SHOWN = 20  # Problems of one file that a message lists.
Add = Callable[[str, str], None]  # Where in a file a problem is, and which.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextlib.contextmanager
def problems_of(what: str) -> Iterator[Add]:
  """Collects what is wrong with one file, to say all of it at once.

  Yields:
    A function that takes one.

  Raises:
    ValueError: at the end, if there was one.
  """
  found = []
  yield lambda where, problem: found.append(f"  {where}: {problem}")
  if not found:
    return
  count, lines = len(found), found[:_MAX_SHOWN]
  if count > _MAX_SHOWN:
    lines.append(f"  and {count - _MAX_SHOWN} more")
  noun = "problem" if count == 1 else "problems"
  raise ValueError("\n".join([f"{what}: {count} {noun}", *lines]))


def bad_labels(path: str, problem: object) -> images.ImageDecodeError:
  """The error of an image whose label file is of no use."""
  return images.ImageDecodeError("bad labels", f"{path}: {problem}")


def read(path: str) -> bytes:
  """Reads a file that belongs to one image; see `base.read_file`."""
  return base.read_file(path, f"{path}: ")


def is_id(value: object) -> bool:
  """Whether a value of a JSON file can be an id: text or a whole number."""
  if isinstance(value, bool):
    return False
  whole = isinstance(value, float) and value.is_integer()
  return whole or isinstance(value, int | str)


def is_path(value: object) -> bool:
  """Whether a value of a JSON file can be the path of a file."""
  return isinstance(value, str) and value.strip() != "" and "\0" not in value


def to_numbers(value: object) -> np.ndarray | None:
  """A list of a JSON file as (n,) float64; None if it is no list of numbers.

  What is too large becomes infinite.
  """
  if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
    return None
  try:
    return np.array(value, np.float64)
  except OverflowError:
    return np.full(len(value), np.inf)


def are_fractions(points: np.ndarray) -> bool:
  """Whether (n, 2) points of a person are fractions of the image's sides.

  Or of a box: where it begins and how large it is. In pixels nobody would lie
  within the first one.
  """
  return len(points) > 1 and bool(0 <= points.min() and points.max() <= 1)


def read_text(path: str) -> str:
  """Reads a file of annotations; a byte order mark is no part of it.

  Raises:
    ValueError: it cannot be read, or is no UTF-8.
  """
  try:
    return storage.read_bytes(path).decode("utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error


def read_json(path: str, kind: type) -> list | dict:
  """Reads a JSON file of annotations, whose outermost value is a `kind`.

  Raises:
    ValueError: it cannot be read, is no JSON, has text that is no Unicode, or
      another value.
  """
  text = read_text(path)
  try:
    found = json.loads(text)
    if _SURROGATE.search(text):  # Seldom; no file could have them as its name.
      json.dumps(found, ensure_ascii=False).encode()
  except (ValueError, RecursionError) as error:  # Also of too many digits.
    raise ValueError(f"{path}: no JSON: {error}") from error
  if not isinstance(found, kind):
    names = {list: "a list", dict: "an object"}
    raise ValueError(
      f"{path}: {names.get(type(found), type(found).__name__)}, expected "
      f"{names[kind]}."
    )
  return found


def index_stems(
  directory: str,
  extensions: Sequence[str],
  others: kinds.LeftOut | None = None,
) -> dict[str, str]:
  """The files below a directory: path without extension -> path.

  Args:
    directory: where they are.
    extensions: that they have.
    others: is told of files with other extensions.

  Raises:
    ValueError: it cannot be listed, or two files differ by extension only.
  """
  found = {}
  with problems_of(directory) as add:
    try:
      for path in storage.list_files(directory):
        stem, extension = posixpath.splitext(path)
        if extension.lower() in extensions:
          if stem in found:
            add(path, f"there is {found[stem]} as well")
          found[stem] = path
        elif others is not None:
          others.add(extension or "without an ending", path)
    except OSError as error:
      raise ValueError(f"{directory}: cannot be listed: {error}") from error
  return found


def resolve(root: str, path: str) -> str:
  """A path that a file names: absolute, a URL, or relative to `root`."""
  if storage.is_remote(path) or os.path.isabs(path):
    return path
  return storage.join(root, path)


def load_array(path: str, name: str, kind: type[np.number]) -> np.ndarray:
  """Reads an .npy file, or the array `name` of an .npz file.

  Raises:
    ImageDecodeError: neither, no such array, pickled objects (which are not
      looked at), or numbers of another kind.
  """
  data = io.BytesIO(read(path))
  try:
    found = np.load(data, allow_pickle=False)
    if not isinstance(found, np.ndarray) and name in found:
      found = found[name]
  except Exception as error:  # Headers and archives raise anything.
    raise bad_labels(path, f"no array of numbers: {error}") from error
  if not isinstance(found, np.ndarray):
    raise bad_labels(path, f"no array {name!r}; it has {list(found)}")
  if not np.issubdtype(found.dtype, kind) or found.dtype.kind == "c":
    raise bad_labels(path, f"{found.dtype}, expected {kind.__name__}")
  return found
