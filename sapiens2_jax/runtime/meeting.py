"""Has all processes come together before JAX waits for them, by name.

JAX aborts when some do not come, and says of nobody that he is missing. So all
first meet at process 0, at the address at which JAX will: each says who it is,
and hears who did not come.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

_HELLO, _GO = b"sapiens2 process", b"go"
_PAUSE = 0.2  # Seconds between two tries to reach process 0.
_PATIENCE = 10.0  # Seconds for the answer, after the deadline.
_LONGEST = 4096  # Bytes of a line.


class MissingError(OSError):
  """Some processes did not come in time."""


def meet(
  address: str,
  count: int,
  index: int,
  timeout: float,
  now: Callable[[], float] = time.monotonic,
) -> None:
  """Returns in all processes when all are there.

  Args:
    address: HOST:PORT of process 0, where nobody listens yet.
    count: of the processes.
    index: of this one, from 0.
    timeout: seconds to wait.
    now: seconds on a clock that only goes forward.

  Raises:
    MissingError: names those who did not come; soon in all that did.
    OSError: process 0 cannot listen.
  """
  host, _, port = address.rpartition(":")
  place = host.strip("[]"), int(port)
  if index == 0:
    _gather(address, place[1], count, timeout, now)
  else:
    _come(address, place, index, timeout, now)


def _gather(address, port, count, timeout, now) -> None:
  """What process 0 does."""
  try:
    server = _listen(port)
  except OSError as error:
    raise OSError(f"{address}: process 0 cannot listen: {error}") from error
  deadline, met, gone, heard = now() + timeout, {}, {}, {}
  with server, selectors.DefaultSelector() as selector:
    selector.register(server, selectors.EVENT_READ)
    while len(met) < count - 1 and (left := deadline - now()) > 0:
      for key, _ in selector.select(left):
        connection = key.fileobj
        if connection is server:
          connection, _ = server.accept()
          selector.register(connection, selectors.EVENT_READ)
          heard[connection] = b""
          continue
        data = _receive(connection)
        heard[connection] += data
        who = _read_hello(heard[connection], count)
        if not data or len(heard[connection]) > _LONGEST:
          selector.unregister(connection)
          connection.close()
          if who and met.get(who[0]) is connection:
            del met[who[0]]
            gone[who[0]] = who[1]
        elif who:
          met[who[0]] = connection
    missing = [i for i in range(1, count) if i not in met]
    names = ", ".join(
      f"{i} (on {gone[i]}, came and ended)" if i in gone else str(i)
      for i in missing
    )
    answer = f"missing {names}\n".encode() if missing else _GO + b"\n"
    for connection in heard:
      try:
        connection.sendall(answer)
      except OSError:
        pass  # It has ended meanwhile.
      connection.close()
  if missing:
    raise _missing(names, count, address, timeout)


def _come(address, place, index, timeout, now) -> None:
  """What the others do."""
  deadline, problem, answer = now() + timeout, "nothing was tried", b""
  hello = _HELLO + f" {index} {socket.gethostname()}\n".encode()
  while (left := deadline - now()) > 0:
    try:
      with socket.create_connection(place, min(left, 10)) as connection:
        connection.sendall(hello)
        # Process 0 answers at its own deadline.
        connection.settimeout(left + _PATIENCE)
        problem = "it takes connections but says nothing: is it frozen?"
        while not answer.endswith(b"\n"):
          if not (data := connection.recv(_LONGEST)):
            raise OSError("it ended before all had come")
          answer += data
      break
    except TimeoutError as error:
      problem = problem if "frozen" in problem else str(error)
    except OSError as error:
      problem, answer = str(error), b""
    time.sleep(min(_PAUSE, max(0, deadline - now())))
  text = answer.decode(errors="replace").strip()
  if text == _GO.decode():
    return
  if text.startswith("missing "):
    raise _missing(text.removeprefix("missing "), -1, address, timeout)
  raise MissingError(
    f"process 0 did not come to {address} within {timeout:g} s "
    f"(distributed.start_timeout): {text or problem}"
  )


def _missing(names: str, count: int, address: str, timeout: float):
  of = f" of {count}" if count > 0 else ""
  return MissingError(
    f"missing process(es){of}: {names}; they did not come to {address} within "
    f"{timeout:g} s (distributed.start_timeout)."
  )


def _listen(port: int) -> socket.socket:
  if socket.has_dualstack_ipv6():
    return socket.create_server(
      ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
    )
  return socket.create_server(("", port), backlog=1024)


def _receive(connection: socket.socket) -> bytes:
  try:
    return connection.recv(_LONGEST)
  except OSError:
    return b""


def _read_hello(data: bytes, count: int) -> tuple[int, str] | None:
  """Index and host; None of what no process of this job says."""
  line, end, _ = data.partition(b"\n")
  words = line.removeprefix(_HELLO).split()
  if not end or not line.startswith(_HELLO) or len(words) != 2:
    return None
  if not words[0].isdigit() or not 0 < int(words[0]) < count:
    return None
  return int(words[0]), words[1].decode(errors="replace")
