"""Checkpoints on the disks of the hosts, between those that all can read.

Orbax's emergency checkpoints: each replica along `data` but the first writes
the whole state to the disks of its own hosts. After a restart any replica that
is still whole sends it to the others; each host compares its own files with
their checksums first.
"""

import os
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from ml_collections import ConfigDict
from orbax.checkpoint._src.futures.synchronization import OperationIdGenerator
from orbax.checkpoint._src.multihost import multihost
from orbax.checkpoint.experimental.emergency import (
  checkpoint_manager as emergency,
)

from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.training import verification
from sapiens2_jax.training.state import TrainState

_HIGH = 2**30  # A position is saved as two int32, in units of this and of 1.


class LocalCheckpoints:
  """Saves the state and the data position, of one run only.

  Attributes:
    directory: on this host's disk.
  """

  def __init__(
    self, config: ConfigDict, mesh: Mesh, abstract: TrainState, run_id: int
  ):
    """Looks for what earlier processes of the run left.

    Args:
      config: the group `checkpoint`.
      run_id: the same in all processes and restarts of a run.

    Raises:
      ValueError: unless there are several replicas of whole processes.
    """
    self._every = config.local_every
    replicas = mesh.devices.reshape(mesh.shape["data"], -1)
    owners = [{d.process_index for d in replica} for replica in replicas]
    if len(owners) < 2 or sum(map(len, owners)) > jax.process_count():
      raise ValueError(
        f"checkpoint.local_every={self._every}: needs mesh.data of at least 2 "
        f"and whole processes in each part of it; found mesh.data="
        f"{len(owners)} over {jax.process_count()} process(es)."
      )
    multihost.initialize_runtime_to_distributed_ids()
    multihost.initialize_distributed_to_device_ids()
    self._replicated = mesh_lib.replicated(mesh)
    position = jax.ShapeDtypeStruct((2,), np.int32, sharding=self._replicated)
    self._abstract = {"state": abstract, "position": position}
    root = pathlib.Path(os.path.abspath(config.local_directory)) / str(run_id)
    # Orbax wants a place for shared checkpoints too; those are not its task.
    local, shared = root / "local", root / "shared"
    self.directory = local
    for directory in (local, shared):
      directory.mkdir(parents=True, exist_ok=True)
    # Then another replica, or an earlier checkpoint, counts.
    verification.remove_damaged(local)
    self._manager = emergency.CheckpointManager(
      local,
      shared,
      global_mesh=mesh,
      abstract_state=self._abstract,
      options=emergency.CheckpointManagerOptions(
        local=emergency.LocalCheckpointOptions(
          save_interval_steps=self._every, max_to_keep=1
        ),
        persistent=emergency.PersistentCheckpointOptions(
          should_save_fn=lambda step, latest: False
        ),
        replica_axis_index=mesh.axis_names.index("data"),
        cleanup_tmp_directories=True,
      ),
    )
    if not self._manager.in_primary_slice:
      # Orbax has no option for it here.
      writer = self._manager._checkpoint_manager._local_checkpoint_manager
      writer._checkpointer._temporary_path_class = verification.ListedPath

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint that some replica has whole."""
    return self._manager.latest_step()

  def is_due(self, step: int) -> bool:
    return step % self._every == 0

  def save(self, state: TrainState, step: int, next_example: int) -> None:
    """Saves; all processes must call it."""
    position = np.array(divmod(next_example, _HIGH), np.int32)
    position = jax.make_array_from_callback(
      (2,), self._replicated, position.__getitem__
    )
    tree = {"state": state, "position": position}
    self._manager.save(
      step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree))
    )
    if self._manager.in_primary_slice:
      # Orbax numbers the saves of each process, and the first replica made
      # none; the next save of all processes needs equal numbers.
      OperationIdGenerator.next_operation_id()

  def restore(self) -> tuple[TrainState, int]:
    """The newest state, and the global index of the next example."""
    restored = self._manager.restore(
      self._manager.latest_step(),
      args=ocp.args.Composite(state=ocp.args.PyTreeRestore(self._abstract)),
    )
    tree = restored["state"]
    high, low = np.asarray(tree["position"].addressable_data(0)).tolist()
    return tree["state"], high * _HIGH + low

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()
    self._manager.close()
