"""Output directories that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator


def read_marker(output: str | os.PathLike, name: str) -> dict | None:
  """The file `name` that says what a directory is, None if it has none."""
  try:
    value = json.loads((pathlib.Path(output) / name).read_text())
  except (OSError, ValueError):
    return None
  return value if isinstance(value, dict) else None


def check_output(output: str | os.PathLike, name: str, **expected) -> None:
  """Refuses to replace what we did not write.

  Args:
    output: directory that is about to be written.
    name: of its marker, a JSON file.
    **expected: values the marker of an earlier output must have.

  Raises:
    ValueError: if `output` is a file, or a directory with other content.
  """
  path = pathlib.Path(output)
  if path.exists() and not path.is_dir():
    raise ValueError(f"{output}: is a file; give a directory")
  if not path.is_dir() or not any(path.iterdir()):
    return
  marker = read_marker(output, name) or {}
  if any(marker.get(key) != value for key, value in expected.items()):
    kind = ", ".join(f"{key}={value}" for key, value in expected.items())
    raise ValueError(
      f"{output}: is not empty and no earlier output of this kind ({kind}); "
      "give another directory"
    )


@contextlib.contextmanager
def replaced(output: str | os.PathLike) -> Iterator[pathlib.Path]:
  """An empty directory that becomes `output` if the block ends well.

  What `output` held is replaced. Remains of a killed writer are removed.
  """
  path = pathlib.Path(os.path.realpath(output))
  partial = path.with_name(f".{path.name}.partial")
  previous = path.with_name(f".{path.name}.previous")
  if previous.exists() and not path.exists():
    os.replace(previous, path)  # killed between the two renames below
  for rest in (partial, previous):
    shutil.rmtree(rest, ignore_errors=True)
  partial.mkdir(parents=True)
  try:
    yield partial
    if path.exists():
      os.replace(path, previous)
    os.replace(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  shutil.rmtree(previous, ignore_errors=True)
