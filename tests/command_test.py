import subprocess
import sys

import pytest

from sapiens2_jax import command, train

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
  done = subprocess.run(
    [sys.executable, "-c", CODE.format(error=error)],
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stderr) == (1, "shard-0: cannot be read\n")


def stop(*_):
  raise KeyboardInterrupt


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
  with pytest.raises(SystemExit) as caught:
    command.run(stop, argv=["command"])
  assert caught.value.code == 130
  assert capsys.readouterr().err == "stopped\n"


def test_ctrl_c_in_a_run_tells_other_processes_and_unlocks(monkeypatch):
  ends = []
  monkeypatch.setattr(train, "train", stop)
  monkeypatch.setattr(train.distributed, "end", lambda *x: ends.append(x))
  train.main([])
  ((message, code),) = ends
  assert code == 130 and "the same command continues" in message
