"""Output directories that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

from data_pipelines.common import files, locks


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


def check_free(output: str | os.PathLike, num_bytes: int) -> None:
  """Refuses to write more than the disk of `output` has room for.

  Raises:
    OSError: with the room that is needed and that there is.
  """
  path = pathlib.Path(os.path.realpath(output))
  while not path.exists():
    path = path.parent
  free = shutil.disk_usage(path).free
  if num_bytes > free:
    raise OSError(
      f"{output}: needs {num_bytes / 1e9:.2f} GB, its disk has "
      f"{free / 1e9:.2f} GB free"
    )


@contextlib.contextmanager
def replaced(output: str | os.PathLike) -> Iterator[pathlib.Path]:
  """An empty directory that becomes `output` if the block ends well.

  What `output` held is replaced. Remains of a killed writer are removed.

  Raises:
    LockedError: another process writes this output.
  """
  with locks.held(output) as lock:
    yield from _replaced(output, lock)


def _replaced(
  output: str | os.PathLike, lock: locks.Lock
) -> Iterator[pathlib.Path]:
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
    lock.check()
    if path.exists():
      os.replace(path, previous)
    os.replace(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  shutil.rmtree(previous, ignore_errors=True)


@contextlib.contextmanager
def updated(output: str | os.PathLike, name: str) -> Iterator[pathlib.Path]:
  """An empty directory whose files go to `output` if the block ends well.

  What an earlier output lists and this does not write, is removed; all else
  that `output` holds stays. A kill while files are moved leaves a marker that
  lists files of unknown size.

  Args:
    output: directory, made if there is none.
    name: of the marker, a JSON file, which says under "files" what was written,
      name by name. The block writes it.

  Raises:
    LockedError: another process writes this output.
  """
  with locks.held(output) as lock:
    yield from _updated(output, name, lock)


def _updated(
  output: str | os.PathLike, name: str, lock: locks.Lock
) -> Iterator[pathlib.Path]:
  path = pathlib.Path(os.path.realpath(output))
  partial = path.with_name(f".{path.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  try:
    yield partial
    lock.check()
    path.mkdir(exist_ok=True)
    marker = read_marker(partial, name)
    earlier = (read_marker(path, name) or {}).get("files", {})
    both = dict.fromkeys([*earlier, *marker["files"]])
    files.write_json(path / name, {**marker, "files": both})
    for old in earlier:
      if old not in marker["files"] and os.path.basename(old) == old:
        (path / old).unlink(missing_ok=True)
    for new in partial.iterdir():
      if new.name != name:
        os.replace(new, path / new.name)
    os.replace(partial / name, path / name)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
