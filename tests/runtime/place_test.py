"""Whether all processes of a job have one workdir, and what they are told."""

import json
import os
import socket

import pytest

from data_pipelines.common import errors, locks
from sapiens2_jax.runtime import place

HOST = socket.gethostname()


class Time:
  """Passes only by sleeping; `events` happen when it has come so far."""

  def __init__(self, **events):
    self.now, self.events = 0.0, {float(k[1:]): e for k, e in events.items()}

  def sleep(self, seconds: float) -> None:
    self.now += seconds
    for at in [at for at in self.events if at <= self.now]:
      self.events.pop(at)()


def write_lock(workdir, token: str, host: str = "host-z") -> None:
  lock = locks.Lock(
    workdir / "lock.json",
    workdir,
    owner=locks.Owner(host, 7),
    token=token,
  )
  (workdir / "lock.json").unlink(missing_ok=True)
  assert lock.attempt() == 0


def look(workdir, timeout: float = 60.0, **events) -> str:
  time = Time(**events)
  return place.look(
    f"{workdir}/lock.json",
    "ours",
    timeout,
    now=lambda: time.now,
    sleep=time.sleep,
  )


def test_the_same_place_is_seen_at_once(tmp_path):
  write_lock(tmp_path, "ours")
  assert look(tmp_path, timeout=0) == ""


def test_what_a_cache_hides_for_a_while_is_waited_for(tmp_path):
  workdir = tmp_path / "run"
  write_lock(tmp_path, "of an earlier start")

  def appear() -> None:
    workdir.mkdir()
    write_lock(workdir, "ours")

  assert look(workdir, t30=appear) == ""
  late = lambda: write_lock(tmp_path, "ours")  # noqa: E731
  assert look(tmp_path, t59=late) == ""
  write_lock(tmp_path, "of an earlier start")
  assert look(tmp_path, t62=late)


def test_what_is_there_instead_is_said(tmp_path):
  workdir = tmp_path / "run"
  assert look(workdir) == f"2 {HOST} no directory {workdir}"
  workdir.mkdir()
  assert look(workdir) == f"2 {HOST} no lock.json in {workdir}"
  write_lock(workdir, "theirs")
  path = workdir / "lock.json"
  assert look(workdir) == f"2 {HOST} {path} is of process 7 on host-z"
  path.write_text(json.dumps({"token": "ours"}))  # Damaged.
  assert look(workdir) == f"2 {HOST} no lock.json in {workdir}"
  path.unlink()
  path.mkdir()
  assert look(workdir).startswith(f"2 {HOST} {path} cannot be read: ")


def test_a_place_that_cannot_be_read_or_does_not_answer_is_said(
  tmp_path, monkeypatch
):
  def fail(number):
    def read(*_):
      raise OSError(number, os.strerror(number), "lock.json")

    return read

  for number, code in ((13, errors.MISTAKE), (5, errors.FAILURE)):
    monkeypatch.setattr(locks.Disk, "read", fail(number))
    said = look(tmp_path)
    assert said.startswith(f"{code} {HOST} {tmp_path}/lock.json cannot be read")
    assert os.strerror(number) in said


def test_all_processes_are_told_who_has_another_place():
  place.judge({0: "host-a /a/lock.json", 1: "", 2: ""}, 3)
  said = {0: "host-a /a/lock.json", 1: "2 host-b no directory /a", 2: ""}
  with pytest.raises(ValueError) as told:
    place.judge(said, 3)
  assert str(told.value) == (
    "workdir: not the same place for all. Process 0 (host-a) wrote "
    "/a/lock.json; 1 of 3 processes do not see it: process 1 (host-b): no "
    "directory /a. Expected one directory that all hosts mount, or a bucket."
  )
  many = {0: "host-a /a/lock.json"} | {
    i: f"2 host-{i} no directory /a" for i in range(1, 9)
  }
  with pytest.raises(ValueError, match="8 of 9 .*host-4.*; and 4 more. Exp"):
    place.judge(many, 9)


def test_a_disk_that_does_not_answer_is_no_mistake_of_the_user():
  silent = {0: "host-a /a/lock.json", 1: "2 host-b no directory /a"}
  with pytest.raises(OSError, match=r"process 2 \(-\): no answer"):
    place.judge(silent, 3)
