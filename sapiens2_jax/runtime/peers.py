"""Who of the processes is alive; the first that fails ends all, by name."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from sapiens2_jax.runtime import exits

_ALIVE, _FAILED, _SHARED = "sapiens2/alive", "sapiens2/failed", "sapiens2/share"
_LONGEST_INTERVAL = 5.0  # Seconds between two signs of life.
_FOREVER_MS = 24 * 3600 * 1000
_handlers = []  # Of signals; they must outlive the object that made them.


class Liveness:
  """Finds processes whose sign of life stopped changing. Pure."""

  def __init__(self, others: list[int], timeout: float, now: float):
    self._timeout = timeout
    self._seen = {index: ("", now) for index in others}

  def update(self, signs: Mapping[int, str], now: float) -> dict[int, float]:
    """Silent processes, and for how many seconds.

    Args:
      signs: process -> any text that differs from the last one.
      now: seconds on any clock that only goes forward.
    """
    for index, (sign, _) in self._seen.items():
      if signs.get(index, sign) != sign:
        self._seen[index] = (signs[index], now)
    silent = {index: now - seen for index, (_, seen) in self._seen.items()}
    return {i: gap for i, gap in silent.items() if gap > self._timeout}


class Peers:
  """Threads that show this process to be alive and watch the others.

  They end this process with code 1 within `timeout` (and three intervals of at
  most 5 s) after another one died or froze, or with that one's code soon after
  it said that it fails.
  """

  def __init__(
    self,
    client,
    index: int,
    count: int,
    *,
    timeout: float,
    address: str,
    host: str | None = None,
    now: Callable[[], float] = time.monotonic,
    leave: Callable[[str, int], NoReturn] | None = None,
  ):
    """Does nothing yet; see `start`.

    Args:
      client: JAX's, of the coordination service.
      index: of this process.
      count: of all.
      timeout: seconds without a sign of life after which a process is dead.
      address: of process 0, for messages.
      host: of this process; None: as the system says.
      now: seconds on a clock that only goes forward.
      leave: ends this process with a message and a code.
    """
    self._client, self._index, self.count = client, index, count
    self._timeout = timeout
    self.interval = min(timeout / 10, _LONGEST_INTERVAL)
    self._address = address
    self._host = host or socket.gethostname()
    self._now, self._leave = now, leave or self._end_process
    others = [i for i in range(count) if i != index]
    self._liveness = Liveness(others, timeout, now())
    self._beat, self._answered, self._looked = 0, now(), now()
    self._is_failing = threading.Event()
    self._stopped = threading.Event()
    self._threads = [
      threading.Thread(target=self._repeat, args=(look,), daemon=True)
      # The first waits as long as process 0 does not answer.
      for look in (self.look, self.look_for_answers)
    ]

  def start(self) -> None:
    """Looks at every interval from now on."""
    on_abort(self._explain_abort)
    self._answered = self._looked = self._now()
    for thread in self._threads:
      thread.start()

  def broadcast(self, name: str, text: str) -> str:
    """What process 0 says of `name`, which is used once in a run."""
    key = f"{_SHARED}/{name}"
    if self._index == 0:
      self._client.key_value_set(key, text)
      return text
    return self._client.blocking_key_value_get(key, _FOREVER_MS)

  def gather(self, name: str, text: str, seconds: float) -> dict[int, str]:
    """What each process says of `name`, which is used once in a run.

    All processes must call this. Who has not within `seconds` is left out.
    """
    directory = f"{_SHARED}/{name}"
    self._client.key_value_set(f"{directory}/{self._index}", text)
    with contextlib.suppress(Exception):  # JAX's, of any kind: some are late.
      self._client.wait_at_barrier(directory, round(1000 * seconds))
    return _numbered(self._client.key_value_dir_get(directory))

  def finish(self) -> None:
    """Waits for all processes, then stops watching them."""
    self._client.wait_at_barrier("sapiens2/finish", _FOREVER_MS)
    self._stopped.set()
    for thread in self._threads:
      thread.join()

  def fail(self, message: str, code: int, *, may_be_echo: bool) -> NoReturn:
    """Prints the message, tells the others and ends this process."""
    if may_be_echo:
      self._say(message)
      time.sleep(self._timeout + 3 * self.interval)
      message = _summary(message)
    self._is_failing.set()
    # In a thread: nobody answers if process 0 hangs.
    telling = threading.Thread(
      target=self._tell, args=(message, code), daemon=True
    )
    telling.start()
    telling.join(self.interval)
    self._leave(message, code)

  def _tell(self, message: str, code: int) -> None:
    text = f"{code} {self._host} {_summary(message)}"
    with contextlib.suppress(Exception):  # Without process 0 none can be told.
      self._client.key_value_set(f"{_FAILED}/{self._index}", text)

  def _repeat(self, look: Callable[[], None]) -> None:
    while True:
      look()
      if self._stopped.wait(self.interval):
        return

  def look(self) -> None:
    """Gives a sign of life and looks for those of the others."""
    try:
      self._client.key_value_set(
        f"{_ALIVE}/{self._index}",
        f"{self._host} {self._beat}",
        allow_overwrite=True,
      )
      alive = _numbered(self._client.key_value_dir_get(_ALIVE))
      failed = _numbered(self._client.key_value_dir_get(_FAILED))
    except Exception as error:  # JAX's, of any kind: process 0 is not there.
      if not self._stopped.is_set() and not self._is_failing.is_set():
        self._leave(f"{self._lost_coordinator()} ({error})", 1)
      return
    self._beat, self._answered = self._beat + 1, self._now()
    if not self._is_failing.is_set():
      self._judge(alive, failed)

  def look_for_answers(self) -> None:
    """Ends this process if process 0 takes calls and does not answer them."""
    now, before = self._now(), self._looked
    self._looked = now
    if now - before > self._timeout / 2:  # This one was frozen, that is all.
      self._answered = now
    gone = now - self._answered
    is_ending = self._stopped.is_set() or self._is_failing.is_set()
    if gone > self._timeout + self.interval and not is_ending:
      self._leave(
        f"process 0 (coordinator at {self._address}) did not answer for "
        f"{gone:.0f} s (distributed.heartbeat_timeout={self._timeout:g}); it "
        "is frozen, or its host cannot be reached.",
        1,
      )

  def _judge(self, alive, failed) -> None:
    for index, text in failed.items():
      code, host, message = text.split(" ", 2)
      self._leave(f"process {index} ({host}) failed: {message}", int(code))
    silent = self._liveness.update(alive, self._now())
    lines = [
      f"process {index} ({alive.get(index, '-').split()[0]}) gave no sign of "
      f"life for {gap:.0f} s (distributed.heartbeat_timeout="
      f"{self._timeout:g}); it died, or its host cannot be reached."
      for index, gap in silent.items()
    ]
    if lines:
      self._leave("\n".join(lines), 1)

  def _end_process(self, message: str, code: int) -> NoReturn:
    self._say(message)
    if self._index == 0:
      # The others read what happened from this process.
      time.sleep(2 * self.interval)
    exits.leave(code)

  def _say(self, message: str) -> None:
    name = f"process {self._index} ({self._host}): "
    lines = message.strip().splitlines()
    print("\n".join(name + s for s in lines), file=sys.stderr, flush=True)

  def _lost_coordinator(self) -> str:
    return (
      f"process 0 (coordinator at {self._address}) died, or its host cannot "
      f"be reached."
    )

  def _explain_abort(self) -> None:
    """JAX aborts a process as soon as it loses the coordinator."""
    host, _, port = self._address.rpartition(":")
    try:
      socket.create_connection((host.strip("[]"), int(port)), 5).close()
      self._say("was aborted; the reason is in the lines above.")
    except OSError:
      self._say(self._lost_coordinator())


def _numbered(rows: list[tuple[str, str]]) -> dict[int, str]:
  return {int(key.rpartition("/")[2]): text for key, text in rows}


def _summary(message: str) -> str:
  lines = message.strip().splitlines()
  return lines[-1 if lines[0].startswith("Traceback") else 0]


def on_abort(explain: Callable[[], None]) -> None:
  """From now on, an abort (of JAX, say) explains, and ends with code 1.

  Python's own handlers run too late: only after abort() has returned.
  """

  @ctypes.CFUNCTYPE(None, ctypes.c_int)
  def handle(_: int) -> None:
    explain()
    os._exit(1)

  _handlers.append(handle)
  ctypes.CDLL(None).signal(int(signal.SIGABRT), handle)
