"""Orbax checkpoints of the whole state, and of parts of it."""

import contextlib
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from data_pipelines.common import remote, storage
from data_pipelines.common.checksums import DamagedError
from sapiens2_jax.training import best, freezing, stored, verification
from sapiens2_jax.training.local_checkpoints import LocalCheckpoints
from sapiens2_jax.training.state import TrainState, by_path, path_name
from sapiens2_jax.training.verification import (
  RUN,
  STATE,
  Found,
)

# JSON of a config and where it is -> the config: `validation.read_config`.
ReadConfig = Callable[[str, str], ConfigDict]
# Orbax prints stacks of errors that it raises as well, and warns of files that
# no part of a checkpoint has.
logging.get_absl_logger().addFilter(
  lambda record: "orbax" not in pathlib.Path(record.pathname).parts
)


def without_closed_loops(show: Callable[[Any], None]) -> Callable[[Any], None]:
  """A `sys.unraisablehook` without what arrays of a failed save say.

  Orbax ends the event loop at the first error (a full disk, say); each array
  that is written later says so, with a stack.
  """

  def hook(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
      show(unraisable)

  return hook


# Fields of the state by their names in the first version.
_FIRST_NAMES = {"teacher_state": "carried"}


def _present_names(stored: dict) -> dict:
  """The fields of a stored state under their present names."""
  renamed = {old: new for new, old in _FIRST_NAMES.items()}
  return {renamed.get(name, name): tree for name, tree in stored.items()}


def can_be_in(workdir: str | os.PathLike) -> bool:
  """Whether Orbax can write there: on a disk, or in a bucket of Google's."""
  name = os.fspath(workdir)
  return not storage.is_remote(name) or name.startswith("gs://")


def directory(workdir: str | os.PathLike) -> str:
  """Where the checkpoints of a run are."""
  return storage.join(storage.absolute(workdir), "checkpoints")


class SaveError(OSError):
  """A checkpoint could not be written."""


_DISK_ERRORS = (OSError, ValueError, RuntimeError)  # Of Orbax.


@contextlib.contextmanager
def _disk_errors(directory: str | os.PathLike, step: int | None = None):
  """What Orbax raises of a disk, of several types, as one line.

  Args:
    directory: of the checkpoints.
    step: of the one that is written; None if unknown.
  """
  what = directory if step is None else storage.join(directory, f"{step}")
  is_remote = storage.is_remote(directory)
  try:
    yield
  except Exception as error:
    if not is_remote and not isinstance(error, _DISK_ERRORS):
      raise
    reason = " ".join(f"{error or type(error).__name__}".split())
    reason = reason.partition(" [tensorstore_spec=")[0]  # Of no use here.
    if len(reason) > 300:
      reason = f"... {reason[-300:]}"
    free = ""
    if not is_remote:
      free = f" ({shutil.disk_usage(directory).free / 1e9:.2f} GB free)"
    raise SaveError(
      f"a checkpoint could not be written to {what}{free}: {reason}"
    ) from error


class Checkpointer:
  """Saves asynchronously and atomically, keeps last-n and every-m.

  Each checkpoint holds the state, the resolved config, what was known of the
  data and the data position: the global index of the next example. `local` are
  more of them, on the disks of the hosts.

  Attributes:
    best: the one that `checkpoint.keep_best` keeps.
    data: what to save of the data.
    saved_data: of the checkpoint that is there; None if nothing is known.
    written: seconds that the last whole save took to be written.
  """

  def __init__(
    self,
    workdir: str,
    config: ConfigDict,
    read_config: ReadConfig,
    local: LocalCheckpoints | None = None,
    data: dict | None = None,
  ):
    """Finds the newest whole checkpoint and sets aside what is damaged.

    Raises:
      DamagedError: there are checkpoints, and none is whole.
    """
    self._workdir, self._read_config = workdir, read_config
    self._config, self._local, self.data = config, local, data
    self._found = find(workdir, config.checkpoint.verify)
    if self._found is not None:
      verification.set_aside(self._found.skipped)
    self.saved_data = self._found and self._found.run["data"]
    goal = best.read_goal(config.checkpoint.keep_best)
    root = directory(workdir)
    self.best = best.KeepBest(goal, root)
    policies = ocp.checkpoint_managers
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.AnyPreservationPolicy(
        [
          policies.LatestN(config.checkpoint.keep_last),
          policies.EveryNSteps(config.checkpoint.keep_every),
          self.best,
        ]
      ),
      cleanup_tmp_directories=True,
      temporary_path_class=verification.temporary_path_class(root),
      # Others wait while one process reads all for the list.
      async_options=ocp.AsyncOptions(
        timeout_secs=max(600, round(config.watchdog.timeout))
      ),
    )
    with remote.guarded(root):
      self._manager = ocp.CheckpointManager(
        root, options=options, item_names=(STATE, RUN)
      )
    self._writes_since = self._saving = None
    self.written = 0.0
    self._hook = sys.unraisablehook
    sys.unraisablehook = without_closed_loops(self._hook)

  def latest_step(self) -> int | None:
    """Step of the newest whole checkpoint."""
    steps = [self._manager.latest_step()]
    if self._local is not None:
      steps.append(self._local.latest_step())
    return max((step for step in steps if step is not None), default=None)

  def save(
    self,
    state: TrainState,
    step: int,
    next_example: int,
    measured: Mapping[str, float | None] | None = None,
  ) -> None:
    """Saves, unless that was done; returns before all is written.

    Waits until an earlier save is written. All processes must call it.
    `step` comes next, `next_example` is the first one not yet used, `measured`
    are numbers of this state.

    Raises:
      SaveError: this or an earlier one could not be written.
    """
    if self._manager.latest_step() == step:
      return
    run = {
      "version": verification.VERSION,
      "step": step,
      "config": self._config.to_dict(),
      "next_example": next_example,
      "data": self.data,
      "measured": measured,
    }
    # Before: what it beats may go when it is written.
    self.best.take(step, measured or {})
    args = ocp.args.Composite(
      **{
        STATE: ocp.args.PyTreeSave(state, stored.save_args(state)),
        RUN: ocp.args.JsonSave(run),
      }
    )
    self._saving = step
    with self._errors():
      self._manager.save(step, args=args, force=True)  # The caller decides.
    self._writes_since = time.monotonic()

  def _errors(self) -> contextlib.AbstractContextManager:
    return _disk_errors(directory(self._workdir), self._saving)

  def is_local_due(self, step: int) -> bool:
    """Whether it is time to save to the disks of the hosts."""
    return self._local is not None and self._local.is_due(step)

  def save_local(self, state: TrainState, step: int, next_example: int) -> None:
    """Like `save`, to the disks of the hosts."""
    with _disk_errors(self._local.directory):
      self._local.save(state, step, next_example)

  def poll(self) -> None:
    """Looks whether the last save is written, and how long that took.

    Raises:
      SaveError: it could not be written.
    """
    if self._writes_since and not self._manager.is_saving_in_progress():
      with self._errors():
        self._manager.wait_until_finished()
      self.written = time.monotonic() - self._writes_since
      self._writes_since = None

  def restore(self, abstract: TrainState) -> tuple[TrainState, ConfigDict, int]:
    """The newest state, its config and the global index of the next example.

    One on the disks of the hosts has no config; the present one stands in.
    `abstract` has the shapes and shardings to restore into.

    Raises:
      DamagedError: it was not verified, and cannot be read.
    """
    if self.latest_step() != self._manager.latest_step():
      state, next_example = self._local.restore()
      return state, self._config, next_example
    found = self._found
    # As a dict: a checkpoint may have been written under other names.
    item = dict(vars(abstract))
    if _FIRST_NAMES["teacher_state"] in stored.stored_tree(found.path / STATE):
      item = {_FIRST_NAMES.get(name, name): x for name, x in item.items()}
    args = ocp.args.Composite(**{STATE: _restore_args(item)})
    try:
      restored = self._manager.restore(found.step, args=args)
    except (RuntimeError, MemoryError):  # Of devices, not of files.
      raise
    except Exception as error:  # Orbax raises any, also this class itself.
      reason = " ".join(str(error).split())[:300]
      raise DamagedError(f"{found.path}: cannot be read: {reason}") from error
    state = TrainState(**_present_names(restored[STATE]))
    return state, self._config_of(found), found.run["next_example"]

  def _config_of(self, found: Found) -> ConfigDict:
    return self._read_config(json.dumps(found.run["config"]), self._workdir)

  def close(self) -> None:
    """Waits until everything is on disk.

    Raises:
      SaveError: something could not be written.
    """
    with self._errors():
      self._manager.wait_until_finished()
    self._manager.close()
    if self._local is not None:
      with _disk_errors(self._local.directory):
        self._local.close()
    sys.unraisablehook = self._hook  # Arrays of a failed save still speak.


def is_one(path: str | os.PathLike) -> bool:
  """Whether this is a checkpoint itself, WORKDIR/checkpoints/STEP."""
  path = storage.to_path(storage.absolute(path))
  in_run = os.fspath(path.parent) == directory(path.parent.parent)
  return path.name.isdecimal() and in_run and storage.is_directory(path)


def find(workdir: str, verify: bool = True) -> Found | None:
  """The newest whole checkpoint of a run, or the one that is given.

  See `newest_whole`.

  Raises:
    DamagedError: none is whole, or that one is not.
  """
  if not is_one(workdir):
    root = storage.to_path(directory(workdir))
    return verification.newest_whole(root, verify)
  path = storage.to_path(storage.absolute(workdir))
  if problems := verification.find_problems(path, verify):
    raise DamagedError(f"{path}: {problems[0]}")
  return Found(int(path.name), path, verification.read_run(path))


def unfit(found: Found, abstract: TrainState) -> list[str]:
  """Arrays of a state that a checkpoint lacks or has in another shape."""
  tree = stored.stored_tree(found.path / STATE)
  held = by_path(_present_names(tree))

  def one(name: str, x: jax.ShapeDtypeStruct) -> str:
    if name not in held:
      return f"{name}: not stored, expected {x.shape}"
    shape = tuple(held[name].shape)
    return "" if shape == x.shape else f"{name}: {shape}, expected {x.shape}"

  wanted = by_path(dict(vars(abstract)))
  return [line for name, x in wanted.items() if (line := one(name, x))]


def latest(workdir: str) -> tuple[int, pathlib.PurePath]:
  """Step and path of the newest whole checkpoint of a run.

  Raises:
    ValueError: the directory holds none.
    DamagedError: none is whole.
  """
  found = _newest(workdir)
  return found.step, found.path


def _newest(workdir: str) -> Found:
  found = find(workdir)
  if found is None:
    root = directory(workdir)
    raise ValueError(f"{workdir}: no checkpoint; expected one in {root}")
  return found


def _restore_args(item: dict) -> ocp.args.PyTreeRestore:
  """Restores `item`, without what else is stored, e.g. of terms not used."""
  return ocp.args.PyTreeRestore(
    item=item,
    restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    partial_restore=True,
  )


def load_run(workdir: str, read_config: ReadConfig) -> tuple[int, ConfigDict]:
  """Step and resolved config of the newest checkpoint of a run."""
  found = _newest(workdir)
  return found.step, read_config(json.dumps(found.run["config"]), workdir)


def count_learned(workdir: str, frozen_stages: int) -> int:
  """Learned parameters in the newest checkpoint of a run; reads no values."""
  _, path = latest(workdir)
  tree = stored.stored_tree(path / STATE)
  return freezing.count_learned(tree["params"], frozen_stages)


def _select(path: pathlib.PurePath, select: Callable[[TrainState], Any]):
  """Metadata of a state, and what `select` takes of the names of its leaves."""
  tree = stored.stored_tree(path / STATE)
  names = jax.tree_util.tree_map_with_path(
    lambda keys, _: path_name(keys), tree
  )
  return tree, select(TrainState(**_present_names(names)))


def open_part(
  workdir: str, select: Callable[[TrainState], Any]
) -> tuple[int, Any]:
  """Opens what `select` takes of the newest state; reads no values.

  Returns:
    Step, and the part with a `StoredArray` for each array.
  """
  step, path = latest(workdir)
  tree, wanted = _select(path, select)
  leaves, context = by_path(tree), stored.new_context()
  return step, jax.tree.map(
    lambda name: stored.open_array(path / STATE, leaves[name].name, context),
    wanted,
  )


def part_shapes(
  workdir: str, select: Callable[[TrainState], Any]
) -> tuple[int, Any]:
  """Step, shapes and dtypes of what `load_part` reads; reads no values."""
  step, path = latest(workdir)
  tree, wanted = _select(path, select)
  leaves = by_path(tree)

  def shape(name: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaves[name].shape, leaves[name].dtype)

  return step, jax.tree.map(shape, wanted)


def load_part(
  workdir: str, select: Callable[[TrainState], Any], like: Any = None
) -> tuple[int, Any]:
  """Reads what `select` takes of the newest state.

  Args:
    workdir: of a run.
    select: from a state to some of its leaves, in any structure.
    like: their dtypes and shardings, in that structure; None: as stored, on
      one device.

  Returns:
    Step, and the part.
  """
  if like is None:
    step, part = open_part(workdir, select)
    device = jax.local_devices()[0]
    return step, jax.tree.map(
      lambda x: jax.device_put(np.asarray(x), device), part
    )
  step, path = latest(workdir)
  tree, wanted = _select(path, select)
  places = dict(zip(jax.tree.leaves(wanted), jax.tree.leaves(like)))
  item = jax.tree_util.tree_map_with_path(
    lambda keys, _: places.get(path_name(keys), ocp.PLACEHOLDER), tree
  )
  state = ocp.PyTreeCheckpointer().restore(
    path / STATE,
    args=ocp.args.PyTreeRestore(
      item=item,
      restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    ),
  )
  arrays = by_path(state)
  return step, jax.tree.map(arrays.get, wanted)
