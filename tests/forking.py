"""Starts Python programs without importing JAX and PyTorch for each.

Imports are a quarter of what a short run costs. A server imports once what
programs need, and forks for each of them before JAX looks for devices. What
runs is what `python -m MODULE`, `-c CODE` or `FILE.py` runs: a process with its
own arguments, variables, directory, output, signals and end.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence

import fsspec

ROOT = pathlib.Path(__file__).parents[1]
# With what they import; no commands, whose flags have the same names.
_MODULES = (
  "matplotlib.pyplot",
  "sapiens2_jax.interop.exports",
  "sapiens2_jax.interop.load",
  "sapiens2_jax.prediction.run",
  "sapiens2_jax.sweep.local",
  "sapiens2_jax.training.loop",
  "sapiens2_jax.validation",
  "tensorboardX",
  "transformers.models.sapiens2.modeling_sapiens2",
)
_NUMBER = 8  # Bytes of a pid, a status, a length.
_server: socket.socket | None = None


class Process:
  """A program that runs, with the methods of `subprocess.Popen`."""

  def __init__(self, connection: socket.socket):
    self._connection = connection
    self.pid = _receive_number(connection)
    self.returncode: int | None = None

  def poll(self) -> int | None:
    return self._look(0)

  def wait(self, timeout: float | None = None) -> int:
    if self._look(timeout) is None:
      raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
    return self.returncode

  def send_signal(self, number: int) -> None:
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    self.send_signal(signal.SIGKILL)

  def _look(self, timeout: float | None) -> int | None:
    if self.returncode is None:
      self._connection.settimeout(timeout)
      try:
        self.returncode = _receive_number(self._connection)
      except (BlockingIOError, TimeoutError):
        return None
      self._connection.close()
    return self.returncode


def start(
  command: Sequence[str],
  env: Mapping[str, str],
  output,
  error=None,
  cwd: str | os.PathLike = ROOT,
) -> Process | subprocess.Popen:
  """Starts a command; one that is no Python program of this clone as usual.

  Args:
    command: its words.
    env: all its variables.
    output: open file for what it prints.
    error: open file for its errors; None: the same.
    cwd: its directory.
  """
  error = output if error is None else error
  if not _can_fork(command, env, cwd):
    return subprocess.Popen(
      command, cwd=cwd, env=env, stdout=output, stderr=error
    )
  ours, theirs = socket.socketpair()
  request = json.dumps([list(command), dict(env), os.fspath(cwd)]).encode()
  files = [theirs.fileno(), output.fileno(), error.fileno()]
  socket.send_fds(_find_server(), [b"x"], files)
  theirs.close()
  ours.sendall(len(request).to_bytes(_NUMBER) + request)
  return Process(ours)


def run(
  command: Sequence[str],
  env: Mapping[str, str],
  cwd: str | os.PathLike = ROOT,
  timeout: float = 600,
) -> subprocess.CompletedProcess:
  """Waits until it has ended; with what it printed, as text."""
  with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
    process = start(command, env, output, error, cwd)
    try:
      code = process.wait(timeout)
    finally:
      process.kill()
    texts = []
    for file in (output, error):
      file.seek(0)
      texts.append(file.read().decode())
  return subprocess.CompletedProcess(command, code, *texts)


def _can_fork(command: Sequence[str], env: Mapping[str, str], cwd) -> bool:
  """Whether it is Python on this clone, with the settings of the server."""

  def settings(variables: Mapping[str, str]) -> dict[str, str]:
    # What is read at an import, and by no import of what starts a job.
    kinds = ("JAX_", "PYTHON", "OMP_")
    others = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    return {
      name: value
      for name, value in variables.items()
      if name.startswith(kinds) and name not in (*others, "PYTHONPATH")
    }

  path = env.get("PYTHONPATH", str(cwd)).split(os.pathsep)
  if path[0] != str(ROOT):
    return False
  is_ours = command[1] in ("-c", "-m") or command[1].endswith(".py")
  is_ours = is_ours and command[0] == sys.executable
  return is_ours and settings(env) == settings(server_environment())


def server_environment() -> dict[str, str]:
  """With it a program is forked in any directory."""
  return {**os.environ, "PYTHONPATH": str(ROOT)}


def _find_server() -> socket.socket:
  """The end of a line to the server, which ends with this process."""
  global _server
  if _server is None:
    _server, theirs = socket.socketpair()
    code = f"from tests import forking; forking.serve({theirs.fileno()})"
    subprocess.Popen(
      [sys.executable, "-c", code],
      cwd=ROOT,
      env=server_environment(),
      stdin=subprocess.DEVNULL,
      pass_fds=[theirs.fileno()],
    )
    theirs.close()
    atexit.register(_server.close)
  return _server


def serve(number: int) -> None:
  """Forks for each request on the socket of file descriptor `number`.

  Returns in no process: what a request asks for is what the rest of its
  process does.
  """
  for name in _MODULES:
    importlib.import_module(name)
  gc.freeze()  # Programs need not look through all that again and again.
  gc.set_threshold(50_000)  # Nor, as in conftest.py, through what they trace.
  line = socket.socket(fileno=number)
  signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Those who wait are forgotten.
  while True:
    data, files, *_ = socket.recv_fds(line, 1, 3)
    if not data:
      os._exit(0)
    connection = socket.socket(fileno=files[0])
    if os.fork() == 0:
      line.close()
      break
    connection.close()
    for file in files[1:]:
      os.close(file)
  # One process waits for the program, so that the server need not.
  signal.signal(signal.SIGCHLD, signal.SIG_DFL)
  size = _receive_number(connection)
  command, env, cwd = json.loads(connection.recv(size, socket.MSG_WAITALL))
  pid = os.fork()
  if pid:
    connection.sendall(pid.to_bytes(_NUMBER))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(code.to_bytes(_NUMBER, signed=True))
    os._exit(0)
  connection.close()
  _become(command, env, cwd, *files[1:])


def _become(command: list[str], env, cwd: str, output: int, error: int) -> None:
  os.dup2(output, 1)
  os.dup2(error, 2)
  os.close(output)
  if error != output:
    os.close(error)
  os.chdir(cwd)
  os.environ.clear()
  os.environ.update(env)
  # What was read at an import, of variables that differ: more places of
  # modules, behind this clone, and where buckets are.
  sys.path[2:2] = env.get("PYTHONPATH", "").split(os.pathsep)[1:]
  fsspec.config.conf.clear()
  fsspec.config.set_conf_env(fsspec.config.conf)
  sys.modules["__main__"] = main = types.ModuleType("__main__")
  sys.argv = command[1:]
  if command[1] == "-m":
    sys.argv, sys.path[0] = command[2:], cwd
    runpy._run_module_as_main(command[2])
    return
  if command[1] == "-c":
    sys.argv, sys.path[0] = ["-c", *command[3:]], ""
    name, code = "<string>", command[2]
  else:
    sys.path[0] = os.path.dirname(os.path.abspath(command[1]))
    name, code = command[1], pathlib.Path(command[1]).read_bytes()
    main.__file__ = name
  exec(compile(code, name, "exec"), vars(main))


def _receive_number(connection: socket.socket) -> int:
  data = connection.recv(_NUMBER, socket.MSG_WAITALL)
  if len(data) < _NUMBER:
    raise ConnectionError("the server of tests/forking.py has ended")
  return int.from_bytes(data, signed=True)
