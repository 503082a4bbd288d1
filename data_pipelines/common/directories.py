"""Output directories that appear whole or not at all, on disks and in buckets.

Buckets cannot rename. So what goes to one is written on a disk of this machine
(TMPDIR says which) and uploaded: first a marker that fits nothing, so that
nobody takes a mixture of two outputs for one, then the files, then the marker.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent import futures

from data_pipelines.common import files, locks, storage
from data_pipelines.common.progress import Progress

_THREADS = 8  # Files on their way to a bucket, or from one.


def read_marker(output: str | os.PathLike, name: str) -> dict | None:
  """The file `name` that says what a directory is, None if it has none.

  Raises:
    OSError: a bucket does not answer.
  """
  try:
    value = json.loads(storage.read_bytes(storage.join(output, name)))
  except ValueError:
    return None
  except OSError as error:
    if storage.is_remote(output) and not isinstance(error, FileNotFoundError):
      raise
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
  if not list_names(output):
    return
  marker = read_marker(output, name) or {}
  if any(marker.get(key) != value for key, value in expected.items()):
    kind = ", ".join(f"{key}={value}" for key, value in expected.items())
    raise ValueError(
      f"{output}: is not empty and no earlier output of this kind ({kind}); "
      "give another directory"
    )


def list_names(output: str | os.PathLike) -> list[str]:
  """Names of files and directories right in an output; none if it is not there.

  Raises:
    ValueError: it is a file.
  """
  if not storage.exists(output):
    return []
  if not storage.is_directory(output):
    raise ValueError(f"{output}: is a file; give a directory")
  if not storage.is_remote(output):
    return sorted(os.listdir(output))
  return sorted({name.partition("/")[0] for name in storage.find(output)})


def check_free(output: str | os.PathLike, num_bytes: int) -> None:
  """Refuses to write more than the disk of `output` has room for.

  On the way to a bucket that is the disk for temporary files.

  Raises:
    OSError: with the room that is needed and that there is.
  """
  if storage.is_remote(output):
    output = tempfile.gettempdir()
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
def replaced(
  output: str | os.PathLike, name: str = ""
) -> Iterator[pathlib.Path]:
  """An empty directory that becomes `output` if the block ends well.

  What `output` held is replaced. Remains of a killed writer are removed.

  Args:
    output: directory on a disk, or with the `name` of its marker, as
      `updated` takes it, in a bucket.

  Raises:
    LockedError: another process writes this output.
  """
  with locks.held(output) as lock:
    if storage.is_remote(output):
      yield from _uploaded(output, name, lock, is_alone=True)
    else:
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
    if storage.is_remote(output):
      yield from _uploaded(output, name, lock, is_alone=False)
    else:
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
    marker, earlier = _mark_mixed(partial, path, name)
    for old in earlier:
      if old not in marker["files"] and os.path.basename(old) == old:
        (path / old).unlink(missing_ok=True)
    for new in partial.iterdir():
      if new.name != name:
        os.replace(new, path / new.name)
    os.replace(partial / name, path / name)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _mark_mixed(
  partial: pathlib.Path, output: str | os.PathLike, name: str
) -> tuple[dict, dict]:
  """Writes a marker that lists files of unknown size; returns both others."""
  marker = read_marker(partial, name)
  earlier = (read_marker(output, name) or {}).get("files", {})
  both = dict.fromkeys([*earlier, *marker["files"]])
  files.write_json(storage.join(output, name), {**marker, "files": both})
  return marker, earlier


def _uploaded(
  output: str | os.PathLike, name: str, lock: locks.Lock, is_alone: bool
) -> Iterator[pathlib.Path]:
  """As `updated`; with `is_alone` all else that `output` held is removed."""
  with tempfile.TemporaryDirectory() as directory:
    partial = pathlib.Path(directory)
    yield partial
    lock.check()
    new = storage.find(partial)
    _, earlier = _mark_mixed(partial, output, name)
    for old in storage.find(output):
      if old not in new and (is_alone or old in earlier):
        storage.remove(storage.join(output, old))
    _copy_all(
      {partial / x: storage.join(output, x) for x in new if x != name},
      sum(info.num_bytes for info in new.values()),
      "upload",
    )
    lock.check()
    storage.upload(partial / name, storage.join(output, name))


def download(
  directory: str | os.PathLike,
  names: Iterable[str],
  target: str | os.PathLike,
) -> None:
  """Copies files of a bucket, by name below a directory, to one on a disk.

  Raises:
    OSError: one cannot be read, or the disk has no room for them.
  """
  found = storage.find(directory)
  sizes = {name: found[name].num_bytes for name in names}
  check_free(target, sum(sizes.values()))
  for name in sizes:
    os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
  _copy_all(
    {storage.join(directory, x): os.path.join(target, x) for x in sizes},
    sum(sizes.values()),
    "download",
  )


def _copy_all(paths: dict, num_bytes: int, label: str) -> None:
  """Copies files from or to a bucket, with a line that says how far it is."""
  with (
    Progress(label, num_bytes, "B") as progress,
    futures.ThreadPoolExecutor(_THREADS) as pool,
  ):
    started = [
      pool.submit(storage.transfer, source, target, progress.advance)
      for source, target in paths.items()
    ]
    for one in futures.as_completed(started):
      one.result()
