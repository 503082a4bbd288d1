"""One writer at a time in a directory: locks on disks, NFS and in buckets.

A lock is a small file that says who works there: host, pid, job, since when,
a token that no other lock has, and a count that its holder raises every
`INTERVAL` seconds. It is only ever read whole and written whole. Nothing
depends on exclusive creation, on flock or on equal clocks: NFS and mounted
buckets do not keep to the first two, hosts not to the third.

- Taking: nobody is there if the file is not, if its process is known to have
  ended (same boot of the same machine, so its pid tells), if the same job was
  started again by its scheduler, or if the count has not changed for `STALE`
  seconds of the watcher's own clock. A count that changes is a refusal, within
  `INTERVAL` seconds; that the process exists is none, it may be frozen. Write
  the file, and read it again `SETTLE` seconds later: of several that write,
  the last one has it, all others see that.
- Holding: before each count, and with `check` right before something is
  replaced, the holder reads the file. If another token is in it, this process
  was taken for dead; it writes nothing more. Nor does it if the file is
  damaged or gone: somebody may have come, and gone again. A holder that was
  frozen between reading and writing the file may have written over another
  one's: it gives up, and that one goes on.
- Leaving: the holder removes the file. After a kill it stays.

Why that is safe enough: each replacement follows a look at the file, so two
processes can both write only if one freezes for `STALE` seconds just between
that look and the rename after it. Only storage that refuses old writers could
close that; disks and buckets have no such thing in common.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import secrets
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping

from data_pipelines.common import files, storage

INTERVAL = 5.0  # Seconds between two signs of life.
STALE = 30.0  # Seconds without one after which a lock is taken over.
SETTLE = 0.2  # Seconds until all see who wrote last.
# Of schedulers that start a job again: its name, and the count of its starts.
_JOBS = {
  "SLURM_JOB_ID": "SLURM_RESTART_COUNT",
  "JOBSET_NAME": "JOBSET_RESTART_ATTEMPT",  # See launch/jobset.yaml.
}


class LockedError(ValueError):
  """Another process works there."""


class LockLostError(OSError):
  """This process was taken for dead, and another one goes on."""


@dataclasses.dataclass(frozen=True)
class Owner:
  """A process.

  Attributes:
    host: its name, for people.
    pid: on that host.
    machine: boot and pid namespace in which the pid means something; "" if
      unknown.
    born: when it started, in any unit; tells it from a later one of its pid.
    job: of a scheduler; "" if there is none.
    attempt: how often the scheduler started that job before.
  """

  host: str
  pid: int
  machine: str = ""
  born: str = ""
  job: str = ""
  attempt: int = 0

  def __str__(self) -> str:
    job = f" (job {self.job})" if self.job else ""
    return f"process {self.pid} on {self.host}{job}"


def born(pid: int) -> str | None:
  """When a process of this machine started; "" if it has ended.

  None if it lives, and that is all this user may know.
  """
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    try:
      os.kill(pid, 0)
    except PermissionError:
      return None
    except OSError:
      pass
    return ""
  state, *others = text.rpartition(")")[2].split()
  return "" if state in "ZX" else others[18]


def this_process(environ: Mapping[str, str] = os.environ) -> Owner:
  """The process that calls this."""
  machine = ""
  with contextlib.suppress(OSError):
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"
  job = attempt = ""
  for name, count in _JOBS.items():
    job, attempt = environ.get(name, job), environ.get(count, attempt)
  pid = os.getpid()
  return Owner(
    host=socket.gethostname(),
    pid=pid,
    machine=machine,
    born=born(pid) or "",
    job=job,
    attempt=int(attempt) if attempt.isdigit() else 0,
  )


class Clock:
  """Time; the tests have another one."""

  def now(self) -> float:
    """Seconds since any moment; never goes back, also counts suspension."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", 1))

  def since(self) -> str:
    """The time of day, for people."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%d %H:%M:%S UTC")

  def sleep(self, seconds: float) -> None:
    time.sleep(seconds)


class Disk:
  """Whole files by path or URL; the tests have another one."""

  def read(self, path: str) -> bytes | None:
    try:
      return storage.read_bytes(path)
    except FileNotFoundError:
      return None

  def write(self, path: str, data: bytes) -> None:
    # Not waited for (fsync): behind a checkpoint on its way to the disk that
    # takes long, and who writes for long was perhaps frozen.
    files.write_file(path, data, is_synced=False)

  def remove(self, path: str) -> None:
    storage.remove(path)


def beside(output: str | os.PathLike) -> str:
  """Path of the lock on what is, or is going to be, at `output`.

  Within it where what is beside it is not this user's, or not what others see
  who write there: of a disk of its own, such as a volume of a container.
  """
  local = storage.local_path(output)
  path = os.fspath(output) if local is None else os.path.realpath(local)
  parent, _, name = path.rstrip("/").rpartition("/")
  if local is not None and os.path.isdir(path):
    if os.path.ismount(path) or not os.access(parent or "/", os.W_OK):
      return os.path.join(path, ".lock")
  return f"{parent}/.{name}.lock"


class Lock:
  """The right to write in one place. `take` it, `check` it, `release` it."""

  def __init__(
    self,
    path: str | os.PathLike,
    what: str | os.PathLike,
    *,
    owner: Owner | None = None,
    find_born: Callable[[int], str | None] = born,
    clock: Clock | None = None,
    disk: Disk | None = None,
    token: str | None = None,
  ):
    """Takes nothing yet.

    Args:
      path: path or URL of the file.
      what: is locked, for messages.
      owner: this process.
      find_born: see `born`.
      clock: the time.
      disk: where the file is.
      token: that nobody else has.
    """
    self._path, self._what = os.fspath(path), os.fspath(what)
    self._owner = owner or this_process()
    self._find_born = find_born
    self._clock, self._disk = clock or Clock(), disk or Disk()
    self._token = token or secrets.token_hex(16)
    self._since, self._count = "", 0
    self._first = None  # What was there at first, and when.
    self._claimed: float | None = None
    self._seen: float | None = None  # When the file was last known to be ours.
    self._stopped = threading.Event()
    self._thread: threading.Thread | None = None

  @property
  def token(self) -> str:
    """What only this lock's file holds."""
    return self._token

  def attempt(self) -> float:
    """Tries to take it.

    Returns:
      Seconds after which to try again; 0 when this process has written the
      file, which `check` then confirms.

    Raises:
      LockedError: another process works there.
      OSError: the file cannot be read or written.
    """
    now, text = self._clock.now(), self._disk.read(self._path)
    if text is not None:
      if self._first is None:
        self._first = text, now
      before, at = self._first
      if not self._has_ended(text):
        if text != before and _parse(text):
          raise LockedError(self._used_by(text))
        if text != before:  # Damage is no sign of life.
          self._first = text, now
          at = now
        if (left := at + STALE - now) > 0:
          return min(left, INTERVAL / 5)
    self._since = self._clock.since()
    self._write(now)
    self._claimed = now
    return 0

  def take(self, lost: Callable[[str], None] | None = None) -> None:
    """Waits until it can be taken or refused, and shows signs of life then.

    Args:
      lost: called by another thread, with a line, when the lock is lost.

    Raises:
      LockedError: another process works there.
    """
    while (wait := self.attempt()) > 0:
      self._clock.sleep(wait)
    self._thread = threading.Thread(
      target=self._keep, args=(lost,), daemon=True
    )
    self._thread.start()

  def check(self) -> None:
    """Must be called right before something is replaced.

    Raises:
      LockedError: another process started at the same time, and has it.
      LockLostError: another process took it over.
      OSError: the file cannot be read.
    """
    if self._seen is None:
      wait = self._claimed + SETTLE - self._clock.now()
      self._clock.sleep(max(0, wait))
    self._look()

  def beat(self) -> None:
    """Shows that this process lives.

    Raises:
      LockedError, LockLostError: see `check`.
      OSError: the file cannot be read or written.
    """
    self._look()
    self._count += 1
    self._write(self._seen)

  def release(self) -> None:
    """Lets others in; nothing happens if it was lost."""
    self._stopped.set()
    if self._thread not in (None, threading.current_thread()):
      self._thread.join()
    with contextlib.suppress(OSError):
      if self._token_of(self._disk.read(self._path)) == self._token:
        self._disk.remove(self._path)

  def _keep(self, lost: Callable[[str], None] | None) -> None:
    while not self._stopped.wait(INTERVAL):
      try:
        self.beat()
      except (LockedError, LockLostError) as error:
        if lost is not None and not self._stopped.is_set():
          lost(str(error))
        return
      except OSError:
        pass  # A disk that is full or away; `check` tells.

  def _look(self) -> None:
    """Sees that the file is still this process'."""
    if self._stopped.is_set():
      raise LockLostError(f"{self._what}: {self._owner} is ending.")
    now, text = self._read()
    token = self._token_of(text)
    if token is None:  # Perhaps it is being replaced, where that takes time.
      self._clock.sleep(SETTLE)
      now, text = self._read()
      token = self._token_of(text)
    if token is None:
      raise LockLostError(
        f"{self._what}: {self._path} was removed or damaged; {self._owner} "
        "cannot know whether another process is there."
      )
    if token != self._token and self._seen is None:
      raise LockedError(self._used_by(text))
    if token != self._token:
      raise LockLostError(
        f"{self._what}: the lock was taken over by {_name(text)} so "
        f"{self._owner} writes nothing more ({self._path})."
      )
    self._seen = now

  def _read(self) -> tuple[float, bytes | None]:
    """The file, and since when it may have changed."""
    while True:
      now, text = self._clock.now(), self._disk.read(self._path)
      if self._clock.now() - now < STALE / 2:
        return now, text  # Else it was frozen, and what it read is old.

  def _write(self, read: float) -> None:
    """Writes the file, which was read at `read`."""
    record = {
      "token": self._token,
      **dataclasses.asdict(self._owner),
      "since": self._since,
      "count": self._count,
    }
    record["crc32"] = _checksum(record)
    self._disk.write(self._path, json.dumps(record).encode())
    gone = self._clock.now() - read
    if gone > STALE / 2:
      raise LockLostError(
        f"{self._what}: {self._owner} was frozen for {gone:.0f} s while it "
        f"wrote {self._path}; another process may be there now."
      )

  def _has_ended(self, text: bytes) -> bool:
    """Whether the process of a lock is known to have ended."""
    found = _parse(text)
    if found is None:
      return False
    owner, me = found[0], self._owner
    if owner.job and owner.job == me.job and owner.attempt < me.attempt:
      return True
    if not owner.machine or owner.machine != me.machine:
      return False
    return self._find_born(owner.pid) not in (None, owner.born)

  def _token_of(self, text: bytes | None) -> str | None:
    found = None if text is None else _parse(text)
    return found and found[1]

  def _used_by(self, text: bytes) -> str:
    return (
      f"{self._what}: in use by {_name(text)} ({self._path}); wait for its "
      "end, stop it, or give another place."
    )


class _Reader(Disk):
  """Only looks."""

  def write(self, path: str, data: bytes) -> None:
    pass


def refuse_used(path: str, what: str) -> None:
  """Looks whether a lock could be taken; writes nothing, may take `STALE`.

  Raises:
    LockedError: another process works there.
    OSError: the file cannot be read.
  """
  lock = Lock(path, what, disk=_Reader())
  while (wait := lock.attempt()) > 0:
    time.sleep(wait)


def read_holder(path: str) -> tuple[Owner, str] | None:
  """Owner and token of the lock that is there; None if there is none.

  Raises:
    OSError: the file cannot be read.
  """
  text = Disk().read(path)
  found = None if text is None else _parse(text)
  return found and found[:2]


def _parse(text: bytes) -> tuple[Owner, str, str] | None:
  """Owner, token and since when; None if the file is damaged."""
  names = [field.name for field in dataclasses.fields(Owner)]
  try:
    record = json.loads(text)
    if record.pop("crc32") != _checksum(record):
      return None
    owner = Owner(**{name: record[name] for name in names})
    found = owner, record["token"], record["since"]
  except (ValueError, KeyError, TypeError, AttributeError):
    return None
  return found


def _checksum(record: dict) -> int:
  return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _name(text: bytes) -> str:
  found = _parse(text)
  return f"{found[0]}, since {found[2]}," if found else "another process"


@contextlib.contextmanager
def held(output: str | os.PathLike) -> Iterator[Lock]:
  """Holds the lock on what is replaced at `output`, by path or URL.

  Call `check` of what this yields right before replacing.

  Raises:
    LockedError: another process writes there.
  """
  lock = Lock(beside(output), output)
  lock.take()
  try:
    yield lock
  finally:
    lock.release()
