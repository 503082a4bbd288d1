"""Which checkpoints are whole: their lists of checksums, and what is skipped.

A list is written into a checkpoint just before that gets its last name, in a
bucket its last object; so a checkpoint with both is whole unless something
damaged it later.
"""

import asyncio
import functools
import itertools
import json
import os
import pathlib
import shutil
import sys
import time
from typing import NamedTuple

import jax
from orbax.checkpoint._src.metadata import checkpoint as metadata
from orbax.checkpoint._src.path import atomicity

from data_pipelines.common import checksums, files, storage
from data_pipelines.common.checksums import DamagedError
from sapiens2_jax.runtime import distributed, gathering
from sapiens2_jax.training import stored

LIST = "checksums.json"
STATE, RUN = "state", "run"
# Of what `run` holds: version 1 says that there is a list.
VERSION = 1
_RUN_FILE = os.path.join(RUN, "metadata")  # Orbax's name for JSON.
# In a bucket, which cannot rename, the last object of a checkpoint: without it
# there is none yet.
_LAST = atomicity.COMMIT_SUCCESS_FILE
_said = set()


class Found(NamedTuple):
  """A checkpoint that is whole.

  Attributes:
    step: that comes next.
    path: its directory, as `storage.to_path` makes it.
    run: JSON of what is beside the state: `config`, `next_example`, `data`.
    skipped: newer ones that are damaged.
  """

  step: int
  path: pathlib.PurePath
  run: dict
  skipped: tuple[pathlib.PurePath, ...] = ()


class ListedPath(atomicity.AtomicRenameTemporaryPath):
  """Orbax's way to name a checkpoint when all is written, and the list first.

  One process does this, for the files of all of them.
  """

  async def finalize(self) -> None:
    final = self._final_path
    if not final.name.isdecimal():  # A part of a checkpoint.
      await super().finalize()
      return
    # Still a temporary name: Orbax removes what a kill leaves.
    self._final_path = final.parent / f"{self._tmp_path.name}.listed"
    await super().finalize()
    await asyncio.to_thread(_write_list, self._final_path)
    distributed.check_lock()  # Written in the meantime, and perhaps frozen.
    os.rename(self._final_path, final)
    files.sync(final.parent)
    self._final_path = final


class ListedObjects(atomicity.CommitFileTemporaryPath):
  """The same in a bucket, where a last object stands for the last name."""

  async def finalize(self) -> None:
    if self._final_path.name.isdecimal():
      await asyncio.to_thread(self._finish_list)
    await super().finalize()

  def _finish_list(self) -> None:
    # Orbax' own last write but one; the list must be after it.
    store, self._checkpoint_metadata_store = (
      self._checkpoint_metadata_store,
      None,
    )
    if store is not None:
      store.wait_until_finished()
      store.update(
        file_path=metadata.step_metadata_file_path(self._tmp_path),
        commit_timestamp_nsecs=time.time_ns(),
      )
      store.wait_until_finished()
    _write_list(self._final_path)
    distributed.check_lock()


def temporary_path_class(root: str | os.PathLike) -> type:
  """How Orbax makes checkpoints whole there."""
  return ListedObjects if storage.is_remote(root) else ListedPath


def _write_list(path: os.PathLike) -> None:
  listed = checksums.measure(path, checksums.find_files(path))
  checksums.write(os.path.join(path, LIST), listed)


def say(line: str) -> None:
  """One line on stderr, once, of process 0."""
  if line not in _said and jax.process_index() == 0:
    print(line, file=sys.stderr, flush=True)
  _said.add(line)


def newest_whole(root: pathlib.PurePath, verify: bool = True) -> Found | None:
  """The newest checkpoint that is whole; says what it passes over, and why.

  All processes must call it; each reads its part of the files.

  Args:
    root: of the checkpoints of a run, from `storage.to_path`; need not exist.
    verify: compare all files with the list; otherwise only look for what
      every checkpoint has.

  Returns:
    None if there are no checkpoints at all.

  Raises:
    DamagedError: none is whole.
  """
  skipped = []
  while (step := _newest_step(root, skipped)) is not None:
    path = root / str(step)
    problems = find_problems(path, verify)
    if not problems:
      return Found(step, path, read_run(path), tuple(skipped))
    is_alone = gathering.by_process().count == 1
    if is_alone and _newest_step(root, skipped) != step:
      continue  # A run that goes on saved a newer one, and removes this.
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    say(f"checkpoint {step} is passed over: {problems[0]}{more}")
    skipped.append(path)
  if not skipped:
    return None
  raise DamagedError(
    f"{root}: none of its {len(skipped)} checkpoint(s) is whole; nothing was "
    "changed. Restore the files from a copy, or start in another workdir."
  )


def _newest_step(
  root: pathlib.PurePath, skipped: list[pathlib.PurePath]
) -> int | None:
  """Of process 0, since others may see a directory later."""
  steps = {*list_steps(root)} - {int(path.name) for path in skipped}
  return gathering.gather(max(steps, default=None))[0]


def list_steps(root: pathlib.PurePath) -> list[int]:
  """Steps of the checkpoints of a run, in order, whole or not."""
  return sorted(
    int(name)
    for name in storage.list_directories(root)
    if _is_step(name)
    and (not storage.is_remote(root) or storage.exists(root / name / _LAST))
  )


def _is_step(name: str) -> bool:
  """Whether a checkpoint is named so, when all is written."""
  return name.isdecimal() and str(int(name)) == name


def find_problems(path: pathlib.PurePath, verify: bool = True) -> list[str]:
  """What is wrong with a checkpoint, a sentence each; none if it is whole.

  All processes must call it, and get the same answer.
  """
  problems = gathering.gather(_own_problems(path, verify))
  return list(itertools.chain(*problems))


def _own_problems(path: pathlib.PurePath, verify: bool) -> list[str]:
  """What this process finds in its part of the files."""
  try:
    is_listed = storage.exists(path / LIST)
    if verify and is_listed:
      listed = json.dumps(checksums.read(path / LIST))
      if problems := _compare(path, listed):
        return list(problems)
    run = read_run(path)
    if run["step"] not in (None, int(path.name)):
      return [f"{path}: holds step {run['step']}"]
    stored.stored_tree(path / STATE)
    if is_listed or not verify:
      return []
    if run["version"] >= VERSION:
      return [f"{path / LIST}: missing"]
    if problems := _unreadable(path):
      return problems
  except FileNotFoundError as error:
    return [f"{error.filename or error}: missing"]
  except (OSError, ValueError) as error:
    if isinstance(error, OSError) and storage.is_remote(path):
      raise  # Of the network, not of the checkpoint.
    return [" ".join(str(error).split())]
  say(
    f"{path}: written by an earlier version, without checksums; whether its "
    "numbers are as they were cannot be checked"
  )
  return []


@functools.lru_cache(maxsize=64)
def _compare(path: pathlib.PurePath, listed: str) -> tuple[str, ...]:
  """Once in a process: what is read in parts is hashed for the first one."""
  entries = json.loads(listed)
  names = sorted(entries, key=lambda name: entries[name]["bytes"])
  job = gathering.by_process()
  mine = names[job.index :: job.count]
  return tuple(checksums.compare(path, {name: entries[name] for name in mine}))


def remove_damaged(local: pathlib.Path) -> None:
  """Removes damaged checkpoints of this process alone, and says so.

  Those without a list go too: there are others.
  """
  for name in filter(_is_step, storage.list_directories(local)):
    path = local / name
    try:
      problems = checksums.compare(path, checksums.read(path / LIST))
    except (OSError, ValueError) as error:
      problems = [str(error)]
    if problems:
      print(
        f"process {jax.process_index()}: local checkpoint {path.name} is "
        f"passed over and removed: {problems[0]}",
        file=sys.stderr,
        flush=True,
      )
      shutil.rmtree(path)


def _unreadable(path: pathlib.PurePath) -> list[str]:
  """Arrays of a checkpoint without a list that cannot be read."""
  try:
    job = gathering.by_process()
    stored.read_through(path / STATE, job.index, job.count)
  except (OSError, ValueError, KeyError) as error:
    if isinstance(error, OSError) and storage.is_remote(path):
      raise
    return [f"{path / STATE}: {' '.join(str(error).split())[:200]}"]
  return []


def read_run(path: pathlib.PurePath) -> dict:
  """What a checkpoint holds beside the state; None for what it does not say.

  Raises:
    ValueError: it is damaged; names the file.
    OSError: it cannot be read.
  """
  file = path / _RUN_FILE
  try:
    run = {"version": 0, "step": None, "data": None, **files.read_json(file)}
    is_right = (
      isinstance(run["config"], dict)
      and run["next_example"] >= 0
      and run["version"] >= 0
    )
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{file}: damaged ({error!r})") from error
  if not is_right:
    raise ValueError(f"{file}: damaged; expected config and next_example")
  return run


def set_aside(paths: tuple[pathlib.PurePath, ...]) -> None:
  """Moves damaged checkpoints to `damaged` beside their directory.

  Their steps can then be saved anew. One of the same step from before is
  replaced. All processes must call it.
  """
  if paths and jax.process_index() == 0:
    for path in paths:
      target = path.parent.parent / "damaged" / path.name
      storage.make_directories(target.parent)
      storage.remove_tree(target)
      if storage.is_remote(path):
        storage.copy_tree(path, target)
        storage.remove(path / _LAST)  # Orbax removes what a kill leaves now.
        storage.remove_tree(path)
      else:
        shutil.move(path, target)  # `checkpoints` may lead to another disk.
      say(f"checkpoint {path.name} is set aside: {target}")
  if paths:
    gathering.gather(None)  # The others wait, however long that takes.
