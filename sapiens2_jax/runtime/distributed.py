"""Starts one process of many, and lets them agree and end together."""

import math
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import jax
from absl import logging
from jax._src import clusters
from jax._src import distributed as jax_distributed
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from data_pipelines.common import errors, locks, progress, storage
from sapiens2_jax.runtime import exits, gathering, meeting, peers, place
from sapiens2_jax.runtime.termination import Doing, Termination

# Each with the environment variable that is read where it is not set.
_FIELDS = {
  "coordinator_address": "JAX_COORDINATOR_ADDRESS",
  "num_processes": "JAX_NUM_PROCESSES",
  "process_id": "JAX_PROCESS_ID",
}
_UNSET = ("", -1)
_CONNECT_SECONDS = 10.0  # That JAX gets at least when all have come.
LOCK_FILE = "lock.json"

_peers: peers.Peers | None = None
_lock: locks.Lock | None = None
_termination: Termination | None = None


def settings(
  config: ConfigDict, environ: Mapping[str, str]
) -> dict[str, str | int]:
  """What was said about this process, by the config or else the environment.

  Args:
    config: the group `distributed`; "" and -1 stand for not set.
    environ: of the process.

  Returns:
    coordinator_address, num_processes and process_id as
    `jax.distributed.initialize` takes them; empty if nothing was said.

  Raises:
    ValueError: if only some of the three are there, or do not fit.
  """
  found = {}
  for field, variable in _FIELDS.items():
    value = config[field]
    if value in _UNSET and (value := environ.get(variable, "")):
      if field != "coordinator_address" and not value.isdigit():
        raise ValueError(f"{variable}={value}: expected a number.")
    if value not in _UNSET:
      kind = str if field == "coordinator_address" else int
      found[field] = kind(value)
  missing = [field for field in _FIELDS if field not in found]
  if found and missing:
    given = ", ".join(f"{field}={value}" for field, value in found.items())
    wanted = " and ".join(f"distributed.{f} ({_FIELDS[f]})" for f in missing)
    raise ValueError(f"distributed: {given} is set, but {wanted} is missing.")
  if not found:
    return found
  address, count, index = found.values()
  if not address.rpartition(":")[2].isdigit():
    given = f"distributed.coordinator_address={address}"
    raise ValueError(f"{given}: expected HOST:PORT.")
  if not 0 <= index < count:
    raise ValueError(
      f"distributed.process_id={index}: expected 0 to num_processes - 1 = "
      f"{count - 1}."
    )
  return found


def start(config: ConfigDict) -> None:
  """Joins the other processes; must run before anything touches a device.

  From then on a SIGTERM ends this process in time, see `Termination`, and with
  it the others.

  Where neither config nor environment says anything, JAX looks for a cluster
  (Cloud TPU, SLURM, GKE, Open MPI); without one this is the only process, and
  nothing is waited for.

  If others do not come in time, that is told, by name, with code 1.

  Args:
    config: the group `distributed`.

  Raises:
    ValueError: see `settings`.
    MissingError: some processes did not come in time.
  """
  global _termination
  _join(config)
  _termination = Termination(
    config.stop_timeout,
    lambda message: end(message, errors.TERMINATED),
    is_chained=_peers is not None,  # JAX's tells the others.
  )


def _join(config: ConfigDict) -> None:
  global _peers
  said = settings(config, os.environ)
  if not said:
    said = _find_cluster(config.start_timeout)
  if said.get("num_processes", 1) == 1:
    return
  address, count, index = (said[field] for field in _FIELDS)
  began = time.monotonic()
  meeting.meet(address, count, index, config.start_timeout)
  message = (
    f"process {index}: all {count} processes came to {address}, but JAX could "
    "not connect them; one has ended since."
  )
  peers.on_abort(lambda: print(message, file=sys.stderr, flush=True))
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  left = config.start_timeout - (time.monotonic() - began)
  jax.distributed.initialize(
    **said,
    # For JAX 0 seconds are for ever.
    initialization_timeout=math.ceil(max(left, _CONNECT_SECONDS)),
    # JAX ends a process without a word on who is missing: `Peers` goes first.
    heartbeat_timeout_seconds=round(3 * config.heartbeat_timeout) + 10,
  )
  if jax.process_count() == 1:
    return
  state = jax_distributed.global_state
  _peers = peers.Peers(
    state.client,
    state.process_id,
    state.num_processes,
    timeout=config.heartbeat_timeout,
    address=state.coordinator_address,
  )
  _peers.start()
  if not is_writer():
    # One process speaks; what the others have to say are errors.
    logging.set_verbosity(logging.ERROR)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    progress.Progress.is_shown = False


def _find_cluster(timeout: float) -> dict:
  """What JAX finds out of a cluster; empty if there is none."""
  detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
  found = detect(None, None, None, None, None, math.ceil(timeout))
  names = (*_FIELDS, "local_device_ids")
  return {} if None in found[:3] else dict(zip(names, found))


def hold(workdir: str, start_timeout: float) -> None:
  """Makes a workdir and locks it for this job until it ends.

  Process 0 does; the others see that it is the same place. When the lock is
  lost, all processes end with code 1. All processes must call this.

  Args:
    workdir: path or URL, as this process sees it.
    start_timeout: seconds in which all must answer.

  Raises:
    LockedError: another job runs there.
    ValueError: it is not the same place for all.
    OSError: a disk or a bucket does not answer.
  """
  global _lock
  path = storage.join(workdir, LOCK_FILE)
  if is_writer():
    _lock = locks.Lock(path, workdir)
    _lock.take(lost=lambda message: end(message, 1))
    exits.before_leaving(_lock.release)
  if _peers is None:
    return
  if is_writer():
    _lock.check()  # Of two jobs that came at once, one has it.
  token = _peers.broadcast("workdir", _lock.token if _lock else "")
  timeout = min(place.VISIBLE_SECONDS, start_timeout)
  if is_writer():
    found = f"{socket.gethostname()} {path}"
  else:
    found = place.look(path, token, timeout)
  said = _peers.gather("place", found, timeout + start_timeout)
  place.judge(said, _peers.count)


def refuse_used(workdir: str) -> None:
  """Looks whether `hold` would get the workdir; changes nothing.

  Raises:
    LockedError: another job runs there.
    OSError: it cannot be read.
  """
  locks.refuse_used(storage.join(workdir, LOCK_FILE), workdir)


def follow(timeline: Doing, path: str) -> None:
  """Says what this process does, for SIGTERM; see `Termination.follow`."""
  if _termination is not None:
    _termination.follow(timeline, path)


def should_stop(step: int) -> bool:
  """Whether to save and end before `step`: SIGTERM came to some process.

  Must be asked at each step, in order. JAX tells the other processes, and picks
  the step at which all of them stop.
  """
  if _peers is not None:
    return multihost_utils.reached_preemption_sync_point(step)
  return _termination is not None and _termination.is_requested


def check_lock() -> None:
  """Must be called before something in the workdir is replaced.

  Raises:
    LockedError, LockLostError: another job runs there.
  """
  if _lock is not None:
    _lock.check()


def is_writer() -> bool:
  """Whether this process writes the files and lines of the run."""
  return jax.process_index() == 0


def is_joined() -> bool:
  """Whether there are others, which must end when this process does."""
  return _peers is not None


def broadcast(name: str, value: int) -> int:
  """The value that process 0 has; `name` is used once in a run.

  All processes must call this.
  """
  return value if _peers is None else int(_peers.broadcast(name, str(value)))


def finish() -> None:
  """Leaves after all processes have come to their end."""
  global _peers, _lock
  if _lock is not None:
    _lock.release()
    _lock = None
  if _peers is not None:
    _peers.finish()
    _peers = None
    jax.distributed.shutdown()


def by_one(config: ConfigDict, work: Callable[[], None]) -> None:
  """Has process 0 do what is no work for many; the others wait for its end.

  Args:
    config: see `start`.
    work: uses the devices of its process alone.
  """
  start(config)
  if is_writer():
    with gathering.alone():
      work()
  finish()


def end(message: str, code: int, *, may_be_echo: bool = False) -> NoReturn:
  """Ends this process with an error, and all the others with it.

  Args:
    message: for stderr.
    code: exit code of all processes.
    may_be_echo: it may be how the death of another process shows here; wait
      until that one can be named.
  """
  if _peers is not None:
    _peers.fail(message, code, may_be_echo=may_be_echo)
  print(message, file=sys.stderr)
  exits.leave(code)
