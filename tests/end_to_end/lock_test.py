"""One run in a workdir, whatever is started there."""

import json
import signal
import threading

import pytest

from data_pipelines.common import locks
from sapiens2_jax.runtime import distributed
from sapiens2_jax.training import writers
from tests import forking
from tests.end_to_end import commands

pytestmark = pytest.mark.slow


def start(command, env, log):
  with open(log, "w") as file:
    return forking.start(command, env, file)


def wait_for_rows(process, workdir, count: int, log) -> None:
  timer = threading.Timer(240, process.kill)
  timer.start()
  while len(writers.read_metrics(str(workdir))) < count:
    assert process.poll() is None, log.read_text()
    timer.join(0.05)
  timer.cancel()


def test_a_second_start_is_refused_and_a_restart_follows_at_once(tmp_path):
  data, env = commands.write_images(tmp_path / "images"), commands.environment()
  workdir, options = tmp_path / "run", ("logging.every=1", "checkpoint.every=1")
  long = commands.tiny_command(
    workdir, data, "optim.num_steps=100000", *options
  )
  log = tmp_path / "log"
  first = start(long, env, log)
  wait_for_rows(first, workdir, 2, log)
  before = (workdir / "config.json").read_bytes()

  second = commands.run([*long, "--config.seed=5"], env)
  assert second.returncode == 2
  *_, line = second.stderr.splitlines()
  assert line.startswith(f"{workdir}: in use by process {first.pid} on ")
  assert ", since 20" in line and "Traceback" not in second.stderr
  assert (workdir / "config.json").read_bytes() == before

  first.send_signal(signal.SIGKILL)
  first.wait()
  again = start(long, env, log)
  count = len(writers.read_metrics(str(workdir)))
  wait_for_rows(again, workdir, count + 2, log)

  # As if it had been frozen for minutes, and another host went on.
  path = workdir / distributed.LOCK_FILE
  record = json.loads(path.read_text())
  assert record["pid"] == again.pid
  del record["crc32"]
  other = {**record, "token": "x", "host": "other", "machine": "", "pid": 1}
  other["crc32"] = locks._checksum(other)
  path.write_text(json.dumps(other))
  assert again.wait(60) == 1
  text = log.read_text()
  assert "the lock was taken over by process 1 on other, since 20" in text
  assert f" so process {again.pid} on " in text
  rows = [row["step"] for row in writers.read_metrics(str(workdir))]
  assert rows == list(range(len(rows)))
  assert json.loads(path.read_text()) == other  # Left to the other one.
