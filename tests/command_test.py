import subprocess
import sys

CODE = """
from data_pipelines.sources import ShardReadError
from sapiens2_jax import command

def main():
  raise ShardReadError("shard-0: cannot be read")

command.run(main)
"""


def test_data_that_cannot_be_read_is_one_line_and_exit_code_1():
  done = subprocess.run(
    [sys.executable, "-c", CODE], capture_output=True, text=True
  )
  assert (done.returncode, done.stderr) == (1, "shard-0: cannot be read\n")
