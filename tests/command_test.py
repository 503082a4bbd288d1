import subprocess
import sys

import pytest

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
