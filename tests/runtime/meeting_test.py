"""Processes come together, or hear who did not come."""

import socket
import threading
import time

import pytest

from sapiens2_jax.runtime import meeting


def free_port() -> int:
  with socket.create_server(("localhost", 0)) as server:
    return server.getsockname()[1]


def gather(*indices: int, count: int = 3, timeout: float = 1.0):
  """What each of these processes is told, "" for all are there."""
  address, told = f"localhost:{free_port()}", {}

  def come(index: int) -> None:
    try:
      meeting.meet(address, count, index, timeout)
      told[index] = ""
    except OSError as error:
      told[index] = f"{type(error).__name__}: {error}"

  threads = [threading.Thread(target=come, args=(i,)) for i in indices]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return told


def test_all_go_on_when_all_are_there():
  assert gather(0, 1, 2, timeout=20) == {0: "", 1: "", 2: ""}


def test_who_did_not_come_is_named_to_all_who_did():
  told = gather(0, 1, count=4)
  assert told.keys() == {0, 1}
  for text in told.values():
    assert text.startswith("MissingError: missing process(es)")
    assert ": 2, 3; they did not come to localhost:" in text
    assert "within 1 s (distributed.start_timeout)" in text


def test_a_missing_process_0_is_named():
  told = gather(2)
  assert "process 0 did not come to localhost:" in told[2]
  assert "Connection refused" in told[2]


def test_a_fraction_of_a_second_is_a_time_too():
  assert "within 0.2 s" in gather(0, timeout=0.2)[0]


def test_a_frozen_process_0_is_named(monkeypatch):
  monkeypatch.setattr(meeting, "_PATIENCE", 0.1)
  with socket.create_server(("localhost", 0)) as server:
    address = f"localhost:{server.getsockname()[1]}"
    with pytest.raises(
      meeting.MissingError, match="takes connections but says"
    ):
      meeting.meet(address, 2, 1, 0.5)


def test_a_process_that_came_and_ended_is_named_and_strangers_are_not():
  address = f"localhost:{free_port()}"

  def visit() -> None:
    for words in (b"GET / HTTP/1.1\n", b"sapiens2 process 1 host-b\n"):
      for _ in range(100):
        try:
          place = ("localhost", int(address.rpartition(":")[2]))
          with socket.create_connection(place) as connection:
            connection.sendall(words)
            time.sleep(0.1)
          break
        except ConnectionRefusedError:
          time.sleep(0.02)

  thread = threading.Thread(target=visit)
  thread.start()
  with pytest.raises(
    meeting.MissingError, match=r"1 \(on host-b, came and ended\), 2; they"
  ):
    meeting.meet(address, 3, 0, 1.0)
  thread.join()


def test_a_taken_port_is_named():
  with socket.create_server(("", 0)) as server:
    address = f"localhost:{server.getsockname()[1]}"
    with pytest.raises(OSError, match=f"{address}: process 0 cannot listen"):
      meeting.meet(address, 2, 0, 1.0)
