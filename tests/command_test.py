import os
import sys

import pytest

from sapiens2_jax import command
from sapiens2_jax.runtime import distributed
from tests import forking

CODE = """
from data_pipelines.common.checksums import DamagedError
from data_pipelines.sources import ShardReadError
from sapiens2_jax import command

def main():
  raise {error}("shard-0: cannot be read")

command.run(main)
"""


@pytest.mark.parametrize("error", ["ShardReadError", "DamagedError"])
def test_data_that_cannot_be_read_is_one_line_and_exit_code_1(error):
  done = forking.run(
    [sys.executable, "-c", CODE.format(error=error)], os.environ
  )
  assert (done.returncode, done.stderr) == (1, "shard-0: cannot be read\n")


def stop(*_):
  raise KeyboardInterrupt


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
  with pytest.raises(SystemExit) as caught:
    command.run(stop, argv=["command"])
  assert caught.value.code == 130
  assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize(
  ("error", "code", "may_be_echo"),
  [(ValueError, 2, False), (OSError, 1, False), (RuntimeError, 1, True)],
)
def test_an_error_of_one_process_ends_all(
  monkeypatch, error, code, may_be_echo
):
  told = []

  def end(message, code, *, may_be_echo):
    told.append((message.splitlines()[-1], code, may_be_echo))
    raise SystemExit(code)

  def fail():
    raise error("what is wrong")

  monkeypatch.setattr(distributed, "is_joined", lambda: True)
  monkeypatch.setattr(distributed, "end", end)
  with pytest.raises(SystemExit):
    command.run(fail, argv=["command"])
  ((line, *found),) = told
  assert line.endswith("what is wrong") and found == [code, may_be_echo]


# Commands define flags: two of them are never in one process.
STOPPED_RUN = """
from sapiens2_jax import train

def stop(*_):
  raise KeyboardInterrupt

train.train = stop
train.distributed.end = lambda message, code: print(code, message)
train.flags.FLAGS(["train"])
train.main([])
"""


def test_ctrl_c_in_a_run_tells_other_processes_and_unlocks():
  done = forking.run([sys.executable, "-c", STOPPED_RUN], os.environ)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith("130 ")
  assert "the same command continues" in done.stdout
