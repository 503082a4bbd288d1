"""Who may write in a place, whatever happens to processes and files."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest
from pytest import approx

from data_pipelines.common import directories, locks
from data_pipelines.common.locks import INTERVAL, SETTLE, STALE


@pytest.fixture(autouse=True)
def locks_settle(monkeypatch):
  monkeypatch.setattr(locks, "SETTLE", 0.2)


@pytest.fixture
def lively(monkeypatch):
  """Holders of this process show many signs of life."""
  monkeypatch.setattr(locks, "INTERVAL", 0.5)


@pytest.fixture
def world():
  return World()


class World:
  """Hosts that share a disk, each with its processes, and one time."""

  def __init__(self):
    self.time, self.born, self.files, self.stops = 100.0, {}, {}, {}

  # As `locks.Clock` and `locks.Disk`.
  def now(self):
    return self.time

  def since(self):
    return f"{self.time:g}"

  def sleep(self, seconds):
    self.time += seconds

  def read(self, path):
    return self.files.get(path)

  def write(self, path, data):
    self.files[path] = data
    self.time += self.stops.pop("write", 0)

  def remove(self, path):
    self.files.pop(path, None)

  def lock(self, host="a", pid=1, **owner):
    machine = owner.pop("machine", f"boot of {host}")
    self.born[host, pid] = birth = f"{host} {pid} {self.time}"
    return locks.Lock(
      "lock",
      "runs/p04",
      owner=locks.Owner(host, pid, machine, birth, **owner),
      find_born=lambda other: self.born.get((host, other), ""),
      clock=self,
      disk=self,
      token=f"{host} {pid} {self.time}",
    )

  def kill(self, host="a", pid=1):
    del self.born[host, pid]


def taken(lock, world):
  """Takes it as `take` does, without a thread; returns the seconds."""
  began = world.time
  while wait := lock.attempt():
    world.sleep(wait)
  lock.check()
  return world.time - began


def test_a_second_process_of_the_machine_is_refused_at_the_next_sign(world):
  first, second = world.lock(pid=7, job="12"), world.lock(pid=8)
  taken(first, world)
  assert second.attempt() > 0  # It may be frozen.
  world.sleep(INTERVAL)
  first.beat()
  with pytest.raises(
    locks.LockedError,
    match=r"^runs/p04: in use by process 7 on a \(job 12\), since 100, ",
  ):
    second.attempt()


def test_a_frozen_process_of_the_machine_is_followed_when_stale(world):
  taken(world.lock(pid=7), world)
  assert taken(world.lock(pid=8), world) == approx(STALE + SETTLE)


def test_a_killed_process_of_the_machine_is_followed_at_once(world):
  taken(world.lock(pid=7), world)
  world.kill(pid=7)
  assert taken(world.lock(pid=8), world) == approx(SETTLE)
  world.kill(pid=8)
  # Its pid belongs to another process now.
  world.born["a", 8] = "later"
  assert taken(world.lock(pid=9), world) == approx(SETTLE)


def test_a_process_of_another_host_is_refused_at_its_next_sign(world):
  first, second = world.lock("a"), world.lock("b")
  taken(first, world)
  assert second.attempt() > 0
  world.sleep(INTERVAL)
  first.beat()
  with pytest.raises(locks.LockedError, match="in use by process 1 on a, "):
    second.attempt()


def test_a_silent_process_of_another_host_is_followed_when_stale(world):
  taken(world.lock("a"), world)
  assert taken(world.lock("b"), world) == approx(STALE + SETTLE)


def test_clocks_that_differ_do_not_matter(world):
  first, second = world.lock("a"), world.lock("b")
  taken(first, world)
  # The second one lives an hour earlier.
  world.time -= 3600
  assert second.attempt() > 0
  world.sleep(STALE - 1)
  assert second.attempt() > 0


def test_a_pid_of_another_boot_or_container_says_nothing(world):
  taken(world.lock(pid=7), world)
  world.kill(pid=7)
  other = world.lock(pid=8, machine="boot of a, another namespace")
  assert taken(other, world) == approx(STALE + SETTLE)


def test_a_job_that_its_scheduler_starts_again_follows_at_once(world):
  first = world.lock("a", job="12", attempt=0)
  taken(first, world)
  # The second task of the same start is no restart.
  assert world.lock("b", job="12", attempt=0).attempt() > 0
  assert taken(world.lock("c", job="12", attempt=1), world) == approx(SETTLE)
  with pytest.raises(
    locks.LockLostError, match="taken over by process 1 on c "
  ):
    first.beat()


def test_of_two_that_start_at_once_the_last_to_write_goes_on(world):
  first, second = world.lock("a"), world.lock("b")
  read = world.files.get
  assert first.attempt() == 0
  written = dict(world.files)
  world.files.clear()  # The second did not see it yet.
  assert second.attempt() == 0 and world.files != written
  with pytest.raises(locks.LockedError, match="in use by process 1 on b"):
    first.check()
  second.check()
  assert b'"b"' in read("lock")


def test_a_process_that_was_taken_for_dead_stops(world):
  first, second = world.lock("a"), world.lock("b")
  taken(first, world)
  taken(second, world)
  for look in (first.check, first.beat):
    with pytest.raises(
      locks.LockLostError,
      match="taken over by process 1 on b, since .* so process 1 on a",
    ):
      look()
  first.release()  # Leaves the other one's lock alone.
  second.check()
  second.release()
  assert world.files == {}


def test_a_process_that_froze_while_it_wrote_stops(world):
  lock = world.lock()
  taken(lock, world)
  world.sleep(INTERVAL)
  world.stops["write"] = 40
  with pytest.raises(locks.LockLostError, match="was frozen for 40 s while"):
    lock.beat()


@pytest.mark.parametrize(
  "text", [None, b"", b"{", b"[1]", b'{"token": "x"}', b"\xff", "flipped"]
)
def test_who_finds_the_lock_damaged_or_gone_stops(world, text):
  first = world.lock("a")
  taken(first, world)
  if text == "flipped":
    text = bytearray(world.files["lock"])
    text[5] ^= 1
  world.files["lock"] = text
  for look in (first.check, first.beat):
    with pytest.raises(
      locks.LockLostError, match="lock was removed or damaged; process 1 on a"
    ):
      look()
  if text is not None:
    assert taken(world.lock("c"), world) == approx(STALE + SETTLE)


def test_damage_is_no_sign_of_life(world):
  taken(world.lock("a"), world)
  second = world.lock("b")
  assert second.attempt() > 0
  world.sleep(STALE - 1)
  world.files["lock"] = b"torn"
  assert second.attempt() > 0
  world.sleep(STALE)
  assert second.attempt() == 0


def test_this_process_is_known_by_its_birth_and_its_job():
  me = locks.this_process({"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "2"})
  assert (me.pid, me.job, me.attempt) == (os.getpid(), "5", 2)
  assert me.born == locks.born(os.getpid()) and me.machine
  child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
  assert locks.born(child.pid)
  child.kill()
  os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
  assert locks.born(child.pid) == ""  # It is not yet waited for.
  child.wait()
  assert dataclasses.replace(me, job="", attempt=0) == locks.this_process({})


@pytest.mark.parametrize("place", ["disk", "bucket"])
@pytest.mark.usefixtures("lively")
def test_an_output_is_held_until_it_is_whole(tmp_path, place):
  output = tmp_path / "out"
  if place == "bucket":
    output = "memory://locks_test/out"
  with locks.held(output) as lock:
    with pytest.raises(locks.LockedError, match=r"out: in use by process \d+"):
      with locks.held(output):
        pass
    lock.check()
  with locks.held(output):
    pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["mount", "parent"])
def test_a_volume_is_locked_within(tmp_path, monkeypatch, reason):
  """As `/out` of a container, where `/.out.lock` is of no use."""
  output = tmp_path / "out"
  if reason == "mount":
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(output))
  else:
    monkeypatch.setattr(os, "access", lambda path, _: path != str(tmp_path))
  assert locks.beside(output) == f"{tmp_path}/.out.lock"  # Not there yet.
  output.mkdir()
  with locks.held(output):
    assert [path.name for path in output.iterdir()] == [".lock"]
  assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_sign_of_life_does_not_wait_for_the_disk(tmp_path, monkeypatch):
  """Which may take longer than a process is waited for."""
  monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("waits"))
  lock = locks.Lock(tmp_path / "lock", "x")
  assert lock.attempt() == 0
  lock.beat()
  lock.release()


def test_a_process_that_may_not_be_looked_at_is_alive(world, monkeypatch):
  """As with hidepid, where /proc has nothing of other users."""

  def refuse(pid, signal):
    raise PermissionError(pid)

  monkeypatch.setattr(os, "kill", refuse)
  assert locks.born(2**30) is None
  taken(world.lock(pid=7), world)
  world.born["a", 7] = None
  assert world.lock(pid=8).attempt() > 0


HOLD = """
from data_pipelines.common import locks

locks.INTERVAL = 0.5
import sys, time
from data_pipelines.common import directories
with directories.replaced(sys.argv[1]) as path:
  (path / "a").write_text("1")
  print("ready", flush=True)
  time.sleep(60)
"""


@pytest.mark.parametrize(
  "write", [directories.replaced, lambda x: directories.updated(x, "m.json")]
)
def test_outputs_have_one_writer_and_survive_its_death(tmp_path, write):
  output = tmp_path / "out"
  child = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(output)], stdout=-1, text=True
  )
  assert child.stdout.readline() == "ready\n"
  with pytest.raises(locks.LockedError, match=f"process {child.pid} on "):
    with write(output):
      pass
  assert (tmp_path / ".out.partial" / "a").exists()  # Left alone.
  child.send_signal(signal.SIGKILL)
  child.wait()
  with write(output) as path:
    (path / "m.json").write_text('{"files": {"m.json": 1}}')
  # The kill may have come while the lock was written again.
  left = [
    p.name for p in tmp_path.iterdir() if not p.match(".*.lock.*.partial")
  ]
  assert left == ["out"]
