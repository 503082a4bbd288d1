"""Runs a benchmark as a user would, and reads what it measured."""

import json
import sys
from typing import Any

from tests.end_to_end import commands


def run(*arguments: object, code: int = 0, **variables: str) -> Any:
  """What the last line, `RESULT {json}`, of a benchmark holds.

  Args:
    *arguments: of Python.
    code: how the benchmark ends.
    **variables: of its environment.
  """
  env = {**commands.environment(), **variables}
  done = commands.run([sys.executable, *map(str, arguments)], env)
  assert done.returncode == code, done.stdout + done.stderr
  last = done.stdout.splitlines()[-1]
  assert last.startswith("RESULT "), done.stdout
  return json.loads(last.removeprefix("RESULT "))
