"""A virtual world: clocks, hosts, a network, disks, checkpoints by name."""

import heapq
import itertools
import pathlib
import random
from typing import NamedTuple

NUM_STEPS = 16
HEARTBEAT = 20.0  # Seconds; of distributed.heartbeat_timeout.
HORIZON = 3000.0  # Seconds after which all must be done.
FAULTS = 400.0  # Seconds in which there are faults.
LOCK = "lock.json"
# Every end says one of these.
CAUSES = (
  "in use by",
  "was taken over by",
  "was frozen for",
  "is ending",
  "was removed or damaged",
  "gave no sign of life",
  "died, or its host cannot be reached",
  "did not answer for",
  "No space left on device",
  " failed: ",
)


class Violation(AssertionError):
  """Something happened that must not."""


class Ended(BaseException):
  """The process is no more: no `except Exception` keeps it."""


class Blocked(BaseException):
  """A call that does not come back before this time."""

  def __init__(self, until: float):
    self.until = until


class World:
  """Virtual time, a disk, and processes whose events take turns."""

  def __init__(self, seed: int, workdir: pathlib.Path):
    self.random = random.Random(seed)
    self.seed, self.workdir = seed, workdir
    self.time, self.wall_offset = 1000.0, 0.0
    self.queue, self.number = [], itertools.count()
    self.files, self.full_until = {}, 0.0
    self.checkpoints: dict[int, bool] = {}  # Step -> whether it is whole.
    self.processes = []
    self.story: list[str] = []
    self.sessions, self.last_writer = itertools.count(), -1
    self.is_done = self.is_lock_damaged = self.has_frozen = False

  def tell(self, text: str) -> None:
    self.story.append(f"{self.time - 1000:8.2f}  {text}")

  def violate(self, text: str) -> None:
    self.tell(f"VIOLATION {text}")
    raise Violation("\n".join([f"seed {self.seed}: {text}", *self.story]))

  def at(self, when: float, process, function) -> None:
    heapq.heappush(self.queue, (when, next(self.number), process, function))

  def run(self, until: float) -> None:
    """Lets everything happen up to this time."""
    while self.queue and self.queue[0][0] <= until:
      when, _, process, function = heapq.heappop(self.queue)
      if process is not None and not process.is_alive:
        continue
      if process is not None and process.frozen_until > when:
        self.at(process.frozen_until, process, function)
        continue
      if process is not None and process.is_inside:  # A call that froze.
        self.at(when + 0.1, process, function)
        continue
      self.time = max(self.time, when)
      if process is None:
        function()
      else:
        process.do(function)
    self.time = max(self.time, until)

  def born(self, host: str):
    """The `find_born` of a host."""
    return lambda pid: next(
      (
        f"{p.pid}"
        for p in self.processes
        if p.host == host and p.pid == pid and p.is_alive
      ),
      "",
    )

  def newest_whole(self) -> int:
    return max((s for s, whole in self.checkpoints.items() if whole), default=0)


class Root:
  """The directory of checkpoints, as `newest_whole` looks at it."""

  def __init__(self, checkpoints: dict[int, bool]):
    self._checkpoints = checkpoints

  def steps(self) -> list[int]:
    return sorted(self._checkpoints)

  def __truediv__(self, name: str) -> "_Checkpoint":
    return _Checkpoint(name, self._checkpoints[int(name)])


class _Checkpoint(NamedTuple):
  name: str
  is_whole: bool


def _problems(path: _Checkpoint, verify: bool) -> list[str]:
  return [] if path.is_whole else ["damaged"]


# What reads a checkpoint's files; which one is taken is decided by the module.
READING = {
  "list_steps": Root.steps,
  "find_problems": _problems,
  "read_run": lambda path: {},
  "say": lambda line: None,
}


class Port:
  """A process' clock, disk and network, as `locks` and `Peers` want them."""

  def __init__(self, process):
    self.process, self.world = process, process.world

  def pause(self, chance: float = 0.002) -> None:
    """Perhaps freezes here, while all others go on."""
    if self.world.is_faulty and self.world.random.random() < chance:
      self.process.freeze(self.world.random.choice([3, 20, 40, 120, 300]))

  def now(self) -> float:
    return self.world.time

  def since(self) -> str:
    return f"{self.world.time + self.world.wall_offset:.0f}"

  def sleep(self, seconds: float) -> None:
    self.process.freeze(seconds, says=False)

  def read(self, path: str) -> bytes | None:
    data = self.world.files.get(path)
    self.pause()
    return data

  def write(self, path: str, data: bytes) -> None:
    self.pause()
    self.check_disk()
    self.world.files[path] = data

  def remove(self, path: str) -> None:
    self.world.files.pop(path, None)

  def check_disk(self) -> None:
    if self.world.time < self.world.full_until:
      raise OSError(28, "No space left on device", LOCK)


class Client:
  """JAX's client of a key-value store that process 0 of the attempt keeps."""

  def __init__(self, process, store: dict):
    self.process, self.store = process, store

  def _call(self) -> None:
    world, first = self.process.world, self.process.attempt[0]
    if not first.is_alive:
      raise RuntimeError("UNAVAILABLE")
    if first.frozen_until > world.time and first is not self.process:
      raise Blocked(first.frozen_until)

  def key_value_set(self, key, value, allow_overwrite=False) -> None:
    self._call()
    world = self.process.world
    if world.is_faulty and world.random.random() < 0.05 and allow_overwrite:
      return  # A message that is lost.
    self.store[key] = value

  def key_value_dir_get(self, prefix):
    self._call()
    return [(k, v) for k, v in self.store.items() if str(k).startswith(prefix)]
