"""One workdir for all processes: each must see the lock that process 0 took.

Hosts with disks of their own would make a directory each, and wait for one
another in the first save. Nothing is written for it: the lock's file holds a
token that no other has, which process 0 tells the others.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from data_pipelines.common import errors, locks, storage

# Seconds that others may not see what one wrote: NFS and GCS FUSE keep what
# they know of names for up to 60 by default.
VISIBLE_SECONDS = 60.0
_PAUSE = 0.5  # Seconds between two looks.
_NAMED = 4  # Processes that a message names.


def look(
  path: str,
  token: str,
  timeout: float,
  *,
  now: Callable[[], float] = time.monotonic,
  sleep: Callable[[float], None] = time.sleep,
) -> str:
  """What is wrong with the lock as this process sees it.

  Args:
    path: of its file, path or URL.
    token: of process 0.
    timeout: seconds in which it must appear.

  Returns:
    "" if it is the one; else a code and what was found, see `judge`.
  """
  deadline = now() + timeout
  while True:
    code, problem = _look_once(path, token)
    if not problem:
      return ""
    if now() >= deadline:
      return f"{code} {socket.gethostname()} {problem}"
    sleep(_PAUSE)


def _look_once(path: str, token: str) -> tuple[int, str]:
  directory, _, name = path.rpartition("/")
  try:
    found = locks.read_holder(path)
    if found is None and not storage.is_directory(directory):
      return errors.MISTAKE, f"no directory {directory}"
  except (OSError, ValueError) as error:
    return errors.exit_code(error), f"{path} cannot be read: {error}"
  if found is None:
    return errors.MISTAKE, f"no {name} in {directory}"
  owner, other = found
  return errors.MISTAKE, "" if other == token else f"{path} is of {owner}"


def judge(said: Mapping[int, str], count: int) -> None:
  """Tells in which processes the workdir is another place.

  Args:
    said: process -> of process 0 its host and the path of its lock's file; of
      the others "", or what `look` found.
    count: of all processes; who is not in `said` did not answer.

  Raises:
    ValueError: some see another directory, or none.
    OSError: a disk or a bucket does not answer.
  """
  problems, codes = [], set()
  for index in range(1, count):
    code, _, text = said.get(index, "1 - no answer").partition(" ")
    if text:
      host, _, problem = text.partition(" ")
      problems.append(f"process {index} ({host}): {problem}")
      codes.add(int(code))
  if not problems:
    return
  rest = len(problems) - _NAMED
  named = "; ".join(problems[:_NAMED]) + (f"; and {rest} more" * (rest > 0))
  host, _, path = said[0].partition(" ")
  message = (
    f"workdir: not the same place for all. Process 0 ({host}) "
    f"wrote {path}; {len(problems)} of {count} processes do not see it: "
    f"{named}. Expected one directory that all hosts mount, or a bucket."
  )
  if errors.FAILURE in codes:
    raise OSError(message)
  raise ValueError(message)
