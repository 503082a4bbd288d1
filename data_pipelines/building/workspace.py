"""The directory of an unfinished build, which a later run continues.

Every step's result is a file that appears whole or not at all, also if the
power fails; a step whose file is there is not done again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from data_pipelines.common import (
  command,
  files,
  locks,
  progress,
  storage,
  worker_pool,
)
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records

Job = TypeVar("Job")

_CORPUS = "corpus"
_DIRECTORIES = (_CORPUS, "list", "scan", "keep", "shards")


class InputError(ValueError):
  """Nothing can be built from the inputs; no unfinished build is kept."""


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much a build does at a time; the corpus does not depend on it.

  Attributes:
    piece: images a piece, the unit of work: a kill loses as much in each
      process.
    partition: rows of 40 bytes that are sorted in memory, which takes about
      five times as much.
    block: pieces that are summed up together.
  """

  piece: int = 200
  partition: int = 2**18
  block: int = 128


DEFAULT_SIZES = Sizes()


@dataclasses.dataclass(frozen=True)
class Building:
  """A build that goes on in the directory `root`."""

  root: pathlib.Path
  sizes: Sizes = DEFAULT_SIZES

  @property
  def corpus(self) -> pathlib.Path:
    """What the output directory is going to be."""
    return self.root / _CORPUS


def hash_inputs(shard_size: int, inputs: Iterable[object]) -> str:
  """The manifest's `inputs_hash` of a corpus that is made of some JSON."""
  digest = hashlib.sha256(f"{records.VERSION} {shard_size}\n".encode())
  for part in inputs:
    digest.update(json.dumps(part).encode())
  return digest.hexdigest()


def locate(output: str | os.PathLike) -> pathlib.Path:
  """The directory in which an output is built: hidden, beside it."""
  path = pathlib.Path(os.path.abspath(output))
  return path.parent / f".{path.name}.building"


def check_free(output: pathlib.Path) -> None:
  """Raises ValueError if there is more than an empty directory."""
  if output.exists() and not (output.is_dir() and not any(output.iterdir())):
    raise ValueError(f"{output}: exists and is not empty; nothing was written.")


def find_complete(
  output: str | os.PathLike, inputs_hash: Callable[[], str], other: str
) -> dict | None:
  """Looks for a corpus that a build before this one has completed.

  Returns:
    Its manifest, None if there is no corpus.

  Raises:
    ValueError: the manifest has another `inputs_hash`; `other` says what has
      changed then.
  """
  if not manifests.is_corpus(output):
    return None
  manifest = manifests.read_manifest(output)
  if manifest["inputs_hash"] != inputs_hash():
    raise ValueError(
      f"{output}: holds a corpus {other}; give another output, or remove this "
      "one first."
    )
  shutil.rmtree(locate(output), ignore_errors=True)  # What a late kill left.
  return manifest


def check_local(output: str | os.PathLike) -> None:
  """Raises ValueError for an output that is not on a disk."""
  if storage.is_remote(output):
    raise ValueError(
      f"{output}: the output must be on a disk; build it there, then copy it."
    )


@contextlib.contextmanager
def open_building(
  output: str | os.PathLike, arguments: dict, sizes: Sizes = DEFAULT_SIZES
) -> Iterator[Building]:
  """Makes or continues a build; at the end it becomes the output.

  Args:
    output: the final directory; not there, or empty.
    arguments: what is asked for, JSON; must be equal to continue.
    sizes: how much is done at a time; must be equal to continue.

  Yields:
    The build. After an exception other than `InputError` its directory stays
    as it is.

  Raises:
    ValueError: there is something at `output`, another process builds it, or
      an unfinished build was started with other arguments.
  """
  output = pathlib.Path(os.path.abspath(output))
  check_free(output)
  root = locate(output)
  arguments = {**arguments, "sizes": dataclasses.asdict(sizes)}
  with locks.held(output) as lock:
    root.mkdir(exist_ok=True)
    _check_arguments(root, arguments)
    for name in _DIRECTORIES:
      (root / name).mkdir(exist_ok=True)
    for directory in (root, *map(root.joinpath, _DIRECTORIES)):
      files.remove_partial(directory)
    try:
      yield Building(root, sizes)
    except InputError:
      shutil.rmtree(root)
      raise
    lock.check()
    os.replace(root / _CORPUS, output)
    shutil.rmtree(root)


def do_missing(
  workers: worker_pool.WorkerPool,
  function: Callable[[Job], int],
  jobs: Iterable[Job],
  shown: progress.Progress,
  *,
  path: Callable[[Job], pathlib.Path],
  size: Callable[[Job], int],
) -> None:
  """Does the jobs that are not done yet, and counts all of them as progress.

  Args:
    workers: to do them.
    function: does one, and returns its size; picklable.
    jobs: all there are.
    shown: counts sizes.
    path: the file that is there once a job is done.
    size: of a job.
  """

  def missing() -> Iterator[Job]:
    for job in jobs:
      if path(job).exists():
        shown.advance(size(job))
      else:
        yield job

  for count in workers.map(function, missing()):
    shown.advance(count)


def run_command(
  name: str,
  output: str,
  build: Callable[[], tuple[dict, bool]],
  explained: tuple[type[Exception], ...] = (),
) -> int:
  """Runs a command that makes a corpus; see `command.run`.

  `build` returns the manifest, and whether the corpus was completed now.
  """

  def work() -> None:
    manifest, is_new = build()
    state = "done" if is_new else "already complete"
    print(f"{output}: {state}: {manifests.summarize(manifest)}")

  return command.run(name, work, kept=locate(output), explained=explained)


def _check_arguments(root: pathlib.Path, arguments: dict) -> None:
  path = root / "arguments.json"
  if not path.exists():
    files.write_json(path, arguments)
    return
  found = files.read_json(path)
  for name, value in arguments.items():
    if found.get(name) != value:
      raise ValueError(
        f"{root}: an unfinished build with {name}={found.get(name)}, now it "
        f"is {value}; give what was given then, or remove that directory."
      )
