"""Errors: of data that cannot be used, and what each kind ends a command with.

What starts commands again (launchers, clusters) goes by the exit code: only
what stays wrong must never be a failure, and only that a mistake.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

FAILURE = 1  # Of disks, networks, other processes: may work next time.
MISTAKE = 2  # In what the user wrote: stays one.
OUT_OF_MEMORY = 3  # Stays so until something is made smaller.
INTERRUPTED = 130  # By Ctrl-C, as shells count it.
TERMINATED = 143  # By SIGTERM, not saved; as shells count it.
# What the system says of a name that the user gave, and of nothing else.
_NAME_CLASSES = (
  FileNotFoundError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
  PermissionError,
)
_NAME_NUMBERS = {
  errno.EINVAL,
  errno.ELOOP,
  errno.ENAMETOOLONG,
  errno.ENOTEMPTY,
}


def exit_code(error: BaseException) -> int:
  """The exit code of a command that an error ends.

  A ValueError is a mistake of the user, unless it was raised from an error
  of a disk or a network; so is an OSError of a name that is not there or
  not what it must be, or may not be used.
  """
  chain = [error]
  while (cause := chain[-1].__cause__) is not None:
    chain.append(cause)
  if any(map(is_out_of_memory, chain)):
    return OUT_OF_MEMORY
  if not isinstance(error, (ValueError, OSError)):
    return FAILURE
  return FAILURE if any(map(_is_of_others, chain)) else MISTAKE


def is_out_of_memory(error: BaseException) -> bool:
  """Whether this machine has no more memory."""
  number = error.errno if isinstance(error, OSError) else None
  return isinstance(error, MemoryError) or number == errno.ENOMEM


def _is_of_others(error: BaseException) -> bool:
  """Whether it is of a disk, a network or another process."""
  if not isinstance(error, OSError) or isinstance(error, _NAME_CLASSES):
    return False
  return error.errno not in _NAME_NUMBERS


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Gives errors of reads and writes, which name no file, this one."""
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = os.fspath(path)
    raise


class UnusableExample(ValueError):
  """A record that no example can be made of; another one is taken.

  Attributes:
    reason: one of a few short phrases, to count by.
    detail: more about this one, may be empty.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason} ({self.detail})" if self.detail else self.reason
