"""What all commands have in common: flags, messages and exit codes."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Callable

from data_pipelines.common import errors, paths


class _Parser(argparse.ArgumentParser):
  """Knows `~` in any argument: a shell does only where a word starts."""

  def parse_known_args(self, args=None, namespace=None):
    given = sys.argv[1:] if args is None else args
    expanded = [paths.expand_home(argument) for argument in given]
    return super().parse_known_args(expanded, namespace)


def make_parser(program: str, text: str) -> argparse.ArgumentParser:
  """Makes the parser of a command; `text` is what it does, in lines."""
  return _Parser(
    prog=program,
    description=text,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


def add_inputs(parser: argparse.ArgumentParser, what: str) -> None:
  """Gives a command the flag --input, which may be given several times."""
  parser.add_argument("--input", action="append", required=True, help=what)


def add_output(parser: argparse.ArgumentParser, shard_size: int) -> None:
  """Gives a command that makes a corpus its flags: where to, how, by whom."""
  parser.add_argument("--output", required=True, help="directory to make")
  parser.add_argument(
    "--shard_size", type=int, default=shard_size, help="records a shard"
  )
  add_workers(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
  """Gives a command the flag --workers."""
  parser.add_argument(
    "--workers",
    type=int,
    default=os.cpu_count(),
    help="processes; 0 works in this one",
  )


def run(
  name: str,
  work: Callable[[], int | None],
  *,
  kept: pathlib.Path | None = None,
  explained: tuple[type[Exception], ...] = (),
) -> int:
  """Does the work of a command; its errors become one line and a code.

  Args:
    name: starts the line.
    work: returns the exit code, None for 0.
    kept: where unfinished work is, which the same command continues; said of
      all errors but ValueError, if it is there.
    explained: errors to explain, beside ValueError and OSError.

  Returns:
    The exit code: that of the error (see `errors.exit_code`), 130 after
    Ctrl-C.
  """
  try:
    return work() or 0
  except KeyboardInterrupt:
    code, message = errors.INTERRUPTED, "stopped"
  except MemoryError as error:
    code, message = errors.exit_code(error), f"out of memory: {error}"
  except (ValueError, OSError, *explained) as error:
    code, message = errors.exit_code(error), error
    if isinstance(error, ValueError):
      kept = None
  is_kept = kept is not None and kept.exists()
  hint = f"; {kept} is kept, the same command continues" if is_kept else ""
  print(f"{name}: {message}{hint}", file=sys.stderr)
  return code


def start(main: Callable[[], int]) -> None:
  """Runs a command's `main` as the process; a polite kill is as Ctrl-C."""
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  sys.exit(main())
