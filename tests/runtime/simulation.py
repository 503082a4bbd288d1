"""What keeps a job alive, under faults, in a virtual world.

    python -m tests.runtime.simulation --seeds 10000 [--first 0]

A seed draws a story: a job of some processes, started again by its launcher,
and faults. Time, hosts, the network and disks are made up; locks, peers, save
schedule, ledger, rows and the choice of a checkpoint are the
trainer's own; its loop, JAX's and Orbax's part are played. A process may freeze
wherever it touches the world, also between reading and writing a file.
`Violation` tells what must never be, and all that happened before.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import shutil
import tempfile
import time
from unittest import mock

from data_pipelines.common import errors, jsonl, locks
from sapiens2_jax.runtime import goodput
from sapiens2_jax.runtime.peers import Peers
from sapiens2_jax.runtime.save_schedule import SaveSchedule
from sapiens2_jax.training import verification
from tests.runtime.simulated_world import (
  CAUSES,
  FAULTS,
  HEARTBEAT,
  HORIZON,
  LOCK,
  NUM_STEPS,
  READING,
  Blocked,
  Client,
  Ended,
  Port,
  Root,
  Violation,
  World,
)


class Process:
  """One process of one attempt of a job."""

  def __init__(self, world, attempt, number, index, count, host, job, store):
    self.world, self.attempt, self.number = world, attempt, number
    self.index, self.count, self.host = index, count, host
    self.pid = 100 + len(world.processes)
    self.name = f"{job}.{number} process {index} ({host})"
    self.is_alive, self.frozen_until, self.code = True, 0.0, None
    self.step, self.store, self.is_inside = -1, store, 0
    self.job = job
    self.session: int | None = None  # Number of the first write.
    self.port, self.client = Port(self), Client(self, store)
    self.lock = None
    if index == 0:
      owner = locks.Owner(
        host, self.pid, f"boot of {host}", f"{self.pid}", job, number
      )
      self.lock = locks.Lock(
        LOCK,
        "run",
        owner=owner,
        find_born=world.born(host),
        clock=self.port,
        disk=self.port,
        token=self.name,
      )
    self.peers = Peers(
      self.client,
      index,
      count,
      timeout=HEARTBEAT,
      address="first:1",
      host=host,
      now=self.port.now,
      leave=self.leave,
    )
    self.generator = self.main()
    world.processes.append(self)
    world.at(world.time, self, self.advance)

  # What the system does.

  def do(self, function) -> None:
    """Runs one event; what it raises ends the process."""
    try:
      function()
    except Ended:
      pass
    except Exception as error:
      if isinstance(error, Violation):
        raise
      with contextlib.suppress(Ended):
        self.fail(str(error), errors.exit_code(error))

  def freeze(self, seconds: float, says: bool = True) -> None:
    """Stops within a call, while the world goes on."""
    until = self.world.time + seconds
    self.world.has_frozen |= says
    self.frozen_until = max(self.frozen_until, until)
    if says:
      self.world.tell(f"{self.name} freezes for {seconds:g} s")
    self.is_inside += 1
    self.world.run(until)
    self.is_inside -= 1
    if not self.is_alive:
      raise Ended

  def end(self, text: str, code: int) -> None:
    if self.is_alive:
      self.is_alive, self.code = False, code
      self.world.tell(f"{self.name} ends with {code}: {text}")
      self.generator = None

  def kill(self) -> None:
    self.end("killed", -9)
    bound = self.world.time + HEARTBEAT + 6 * self.peers.interval
    if self.attempt[0].is_alive:  # Who may freeze before the others know.
      bound += HEARTBEAT + 3 * self.peers.interval
    self.world.at(bound, None, lambda: self.look_for_survivors(bound))

  def look_for_survivors(self, bound: float) -> None:
    """The others must have noticed, but for those that were frozen since."""
    for other in self.attempt:
      thawed = self.world.time if other.is_inside else other.frozen_until
      late = max(thawed + HEARTBEAT + 6 * other.peers.interval, bound)
      if other.is_alive and late > self.world.time:
        self.world.at(late, None, lambda: self.look_for_survivors(bound))
      elif other.is_alive:
        self.world.violate(f"{other.name} did not notice that {self.name} died")

  def leave(self, message: str, code: int) -> None:
    """`Peers` ends this process; process 0 stays a little for the others."""
    self.name_cause(message)
    lingering = 2 * self.peers.interval if self.index == 0 else 0
    if lingering:
      self.world.at(
        self.world.time + lingering, self, lambda: self.end(message, code)
      )
    else:
      self.end(message, code)
      raise Ended

  def fail(self, message: str, code: int) -> None:
    """As `distributed.end`."""
    self.name_cause(message)
    if self.count > 1:
      self.peers._is_failing.set()
      with contextlib.suppress(Blocked):
        self.peers._tell(message, code)
    if self.lock is not None:
      self.lock.release()
    self.generator = None
    wait = 2 * self.peers.interval if self.count > 1 else 0
    self.world.at(self.world.time + wait, self, lambda: self.end(message, code))

  def name_cause(self, message: str) -> None:
    is_restarted = any(
      p.job == self.job and p.number > self.number for p in self.world.processes
    )
    # One that freezes while it starts may write over the lock of another.
    is_well = not (self.world.has_frozen or self.world.is_lock_damaged)
    if "was taken over by" in message and is_well and not is_restarted:
      self.world.violate(f"{self.name} lived and lost its lock")
    if not any(cause in message for cause in CAUSES):
      self.world.violate(f"{self.name} ends without a cause: {message!r}")

  def every(self, interval: float, function) -> None:
    """A thread that does this again and again."""

    def once() -> None:
      wait = interval
      try:
        function()
      except Blocked as blocked:
        wait = max(interval, blocked.until - self.world.time)
      self.world.at(self.world.time + wait, self, once)

    self.world.at(self.world.time + interval, self, once)

  def advance(self) -> None:
    if self.generator is not None:
      wait = next(self.generator, None)
      if wait is not None:
        self.world.at(self.world.time + wait, self, self.advance)

  # What the trainer does, in its order.

  def beat(self) -> None:
    with contextlib.suppress(FileNotFoundError):
      try:
        self.lock.beat()
      except OSError as error:
        if isinstance(error, locks.LockLostError):
          raise

  def write(self, what: str, function) -> None:
    """Replaces something in the workdir, with a look at the lock before."""
    self.check_lock()
    self.port.check_disk()
    if self.session is None:
      self.session = next(self.world.sessions)
    if self.session < self.world.last_writer:
      self.world.violate(f"{self.name} writes {what} after a later one did")
    self.world.last_writer = self.session
    function()

  def check_lock(self) -> None:
    self.lock.check()

  def commit(self, step: int) -> None:
    self.world.checkpoints[step] = True
    self.world.tell(f"{self.name} commits step {step}")

  def restore(self) -> int:
    """The trainer's own choice, of checkpoints that the world has."""
    found = verification.newest_whole(Root(self.world.checkpoints))
    if found is None:
      return 0
    for path in found.skipped:
      del self.world.checkpoints[int(path.name)]
    return found.step

  def share(self, name: str, value: int) -> int:
    return self.store.setdefault(name, value)

  def agree(self, step: int) -> bool:
    """As JAX's: one step for all, which none has passed."""
    if "stop" in self.store and "stop_at" not in self.store:
      self.store["stop_at"] = 1 + max(p.step for p in self.attempt)
    return step >= self.store.get("stop_at", NUM_STEPS + 1)

  def main(self):
    world, metrics = self.world, str(self.world.workdir / "metrics.jsonl")
    timeline = goodput.Timeline(
      self.port.now, lambda: world.time + world.wall_offset
    )
    if self.count > 1:
      self.every(self.peers.interval, self.peers.look)
      self.every(self.peers.interval, self.peers.look_for_answers)
    if self.index == 0:
      while (wait := self.lock.attempt()) > 0:
        yield wait
      self.every(locks.INTERVAL, self.beat)
      yield world.random.uniform(0, 3)
      self.write("config.json", lambda: None)
      self.step = self.store["start"] = self.restore()
      expected = world.newest_whole()
      if self.step < expected:
        world.violate(f"{self.name} starts at {self.step}, not at {expected}")
      timeline.resume(goodput.load(str(world.workdir)), self.step)
      goodput.save(timeline.ledger, str(world.workdir))
      jsonl.drop_rows_from(metrics, self.step)
      world.tell(f"{self.name} starts at step {self.step}")
    while "start" not in self.store:
      yield 0.5
    self.step = self.store["start"]
    schedule = SaveSchedule(
      self.step, every=3, keep_every=100, mtbf=3600.0, share=self.share
    )
    while self.step < NUM_STEPS and not self.agree(self.step):
      timeline.enter("step", self.step)
      yield world.random.uniform(0.2, 4)
      # A step ends when all processes have done their part of it.
      while any(p.step < self.step for p in self.attempt):
        yield 0.3
      if self.index == 0:
        self.write("a row", lambda: self.append(metrics))
      self.step += 1
      if schedule.is_due(self.step):
        yield from self.save(timeline)
    yield from self.save(timeline)
    if self.index == 0:
      ledger = timeline.ledger
      gap = sum(ledger.seconds.values()) - (ledger.updated - ledger.started)
      if abs(gap) > 1e-6 or min(ledger.seconds.values()) < 0:
        world.violate(f"the ledger is off by {gap:g} s")
      world.is_done |= self.step >= NUM_STEPS
      self.lock.release()
    self.store["finished", self.index] = True
    while any(("finished", p.index) not in self.store for p in self.attempt):
      yield 0.3
    for one in self.attempt:
      one.end("done" if world.is_done else "saved", 0 if world.is_done else 143)

  def append(self, metrics: str) -> None:
    with open(metrics, "a") as file:
      file.write(jsonl.to_line({"step": self.step}))

  def save(self, timeline):
    timeline.enter("save", self.step)
    if self.index == 0 and self.step not in self.world.checkpoints:
      step = self.step
      yield self.world.random.uniform(0.1, 5)  # Files are written.
      self.write("a checkpoint", lambda: self.commit(step))
      timeline.ledger.mark(step)
      goodput.save(timeline.ledger, str(self.world.workdir))


class Launcher:
  """Starts a job, and again when it ended with neither 0 nor 2."""

  def __init__(self, world: World, job: str, delay: float):
    self.world, self.job = world, job
    self.attempt: list[Process] = []
    self.given_up: float | None = None
    world.at(world.time + delay, None, self.start)

  def start(self) -> None:
    world, count = self.world, self.world.random.choice([1, 1, 2, 3])
    self.attempt, store = [], {}
    number = next(world.attempts)
    first = world.random.choice("ab")
    for index in range(count):
      host = first if index == 0 else f"{self.job}{index}"
      made = Process(
        world, self.attempt, number, index, count, host, self.job, store
      )
      self.attempt.append(made)
    self.given_up = None
    world.at(world.time + 1, None, self.look)

  def look(self) -> None:
    """A host that does not answer counts as lost: the job starts elsewhere."""
    world = self.world
    frozen = any(
      p.is_alive and p.frozen_until > world.time for p in self.attempt
    )
    if frozen and self.given_up is None:
      self.given_up = world.time + world.random.choice([10, 1e9])
    if not frozen:
      self.given_up = None
    is_lost = self.given_up is not None and world.time > self.given_up
    if not is_lost and any(p.is_alive for p in self.attempt):
      world.at(world.time + 1, None, self.look)
      return
    codes = [p.code for p in self.attempt]
    if is_lost or not ({0, 2} & {*codes}):
      world.tell(f"{self.job} is started again")
      world.at(world.time + world.random.choice([0, 1, 10]), None, self.start)


def _strike(world: World) -> None:
  """One fault."""
  kind = world.random.choice(
    [
      "kill",
      "kill",
      "freeze",
      "clock",
      "tear",
      "flip",
      "full",
      "damage",
      "stop",
    ]
  )
  alive = [p for p in world.processes if p.is_alive]
  if kind in ("kill", "freeze", "stop") and alive:
    victim = world.random.choice(alive)
    if kind == "kill":
      victim.kill()
    elif kind == "stop":
      world.tell(f"{victim.name} gets SIGTERM")
      victim.store["stop"] = True
    else:
      seconds = world.random.choice([5, 20, 40, 120, 300])
      world.tell(f"{victim.name} freezes for {seconds} s")
      world.has_frozen = True
      victim.frozen_until = max(victim.frozen_until, world.time + seconds)
  elif kind == "clock":
    world.tell("the clock is set back by an hour")
    world.wall_offset -= 3600
  elif kind in ("tear", "flip") and world.files.get(LOCK):
    data = bytearray(world.files[LOCK])
    at = world.random.randrange(len(data))
    if kind == "tear":
      del data[at:]
    else:
      data[at] ^= 1 << world.random.randrange(8)
    world.tell(f"the lock is damaged: {kind} at {at}")
    world.files[LOCK], world.is_lock_damaged = bytes(data), True
  elif kind == "full":
    world.tell("the disk is full for 20 s")
    world.full_until = world.time + 20
  elif kind == "damage" and sum(world.checkpoints.values()) > 1:
    step = world.newest_whole()
    world.tell(f"checkpoint {step} is damaged")
    world.checkpoints[step] = False


def simulate(seed: int) -> list[str]:
  """Lets one story happen.

  Returns:
    What happened.

  Raises:
    Violation: something did that must not.
  """
  place = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
  workdir = pathlib.Path(tempfile.mkdtemp(prefix="simulation", dir=place))
  world = World(seed, workdir)
  try:
    with mock.patch.multiple(verification, **READING):
      return _simulate(world)
  finally:
    shutil.rmtree(workdir)


def _simulate(world: World) -> list[str]:
  world.attempts, world.is_faulty = itertools.count(), True
  Launcher(world, "job", 0)
  draw = world.random
  if draw.random() < 0.4:  # Two starts, at once or later.
    Launcher(world, "twin", draw.choice([0, 0, 0.01, 0.1, 5, 50]))
  for _ in range(draw.randrange(1, 7)):
    when = world.time + draw.uniform(0, 120)
    world.at(when, None, lambda: _strike(world))

  def calm() -> None:
    world.is_faulty = False

  world.at(world.time + FAULTS, None, calm)
  world.run(world.time + HORIZON)
  path = str(world.workdir / "metrics.jsonl")
  steps = [row["step"] for row in jsonl.read_rows(path)]
  # The scheduler may stop a job for good: what is there must be whole.
  if steps != list(range(len(steps))):
    world.violate(f"the record holds steps {steps}")
  if len(steps) < world.newest_whole():
    world.violate(f"{len(steps)} rows of {world.newest_whole()} steps")
  if alive := [p.name for p in world.processes if p.is_alive]:
    world.violate(f"{', '.join(alive)} never ended")
  if not world.is_done:
    world.violate("the job is not done")
  return world.story


def find_violation(seeds: range) -> str | None:
  """The first story that must not be."""
  for seed in seeds:
    try:
      simulate(seed)
    except Violation as violation:
      return str(violation)
  return None


def main() -> int:
  os.environ["JAX_PLATFORMS"] = "cpu"
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=1000)
  parser.add_argument("--first", type=int, default=0)
  given = parser.parse_args()
  began = time.perf_counter()
  found = find_violation(range(given.first, given.first + given.seeds))
  if found:
    print(found)
    return 1
  seconds = time.perf_counter() - began
  print(f"{given.seeds} stories in {seconds:.1f} s, nothing wrong")
  return 0


if __name__ == "__main__":
  raise SystemExit(main())
