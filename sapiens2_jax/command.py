"""What all commands share: flags, errors and exit codes."""

import functools
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from absl import app, flags, logging

from data_pipelines.common import errors, paths
from data_pipelines.sources.base import ShardReadError


def fail(message: str, code: int = 2) -> NoReturn:
  """Ends the program with a message and no traceback."""
  print(message, file=sys.stderr, flush=True)
  sys.exit(code)


def _fail_all(message: str, code: int, *, may_be_echo: bool = False) -> None:
  """As `fail`, in a process of several: ends all of them; else does nothing."""
  # JAX takes seconds to import, and without it there are no others.
  distributed = sys.modules.get("sapiens2_jax.runtime.distributed")
  if distributed is not None and distributed.is_joined():
    distributed.end(message, code, may_be_echo=may_be_echo)


def define_rope_dtype(known: Iterable[str]) -> flags.FlagHolder:
  """The flag --rope_dtype of commands that compute with weights."""
  return flags.DEFINE_enum(
    "rope_dtype",
    None,
    sorted(known),
    "Number format of RoPE; default: what the weights were trained with.",
  )


def run(
  main: Callable[..., int | None],
  *required: str,
  argv: list[str] | None = None,
  takes: int = 0,
  takes_more: bool = False,
) -> None:
  """Runs `main` as a command; `~` in its arguments is the user's home.

  A mistake in the flags ends the program with its message and code 2; an error
  in `main` with the code that `errors.exit_code` gives it.

  Args:
    main: returns the exit code, None for 0; called with the arguments that are
      no flags, if there are to be any.
    *required: flags that must be given.
    argv: what to parse instead of sys.argv.
    takes: how many arguments are no flags.
    takes_more: whether there may be more of them.
  """

  def parse(argv: list[str]) -> list[str]:
    flags.mark_flags_as_required(required)
    try:
      rest = flags.FLAGS(argv)
    except flags.Error as error:
      fail(str(error))
    found = len(rest) - 1
    if found > takes and not takes_more:
      fail(f"unexpected arguments: {' '.join(rest[1 + takes :])}")
    if found < takes:
      fail(f"expected {takes} arguments that are no flags, found {found}")
    return rest

  def guarded(argv: list[str]) -> int | None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    try:
      return main(*argv[1:])
    except KeyboardInterrupt:
      _fail_all("stopped", errors.INTERRUPTED)
      fail("stopped", errors.INTERRUPTED)
    except Exception as error:
      # JAX takes seconds to import, and runs out of memory only if it is there.
      from sapiens2_jax.runtime import memory

      line, code = memory.explain(error, memory.COMMAND), errors.OUT_OF_MEMORY
      if line is None and isinstance(
        error, (ValueError, OSError, ShardReadError)
      ):
        line, code = str(error), errors.exit_code(error)
      if line is None:
        text = traceback.format_exc()
        _fail_all(text, errors.FAILURE, may_be_echo=True)
        raise
      _fail_all(line, code)
      fail(line, code)

  argv = [paths.expand_home(a) for a in (sys.argv if argv is None else argv)]
  app.run(guarded, argv=argv, flags_parser=parse)


def run_with_config(
  main: Callable[[list[str]], int | None],
  *required: str,
  needs_config: bool = True,
) -> None:
  """Runs `main(overrides)` as a command; otherwise like `run`.

  `--config` is required, unless the command has other uses without one.
  Arguments `--config.group.field=value` are the overrides, as
  `group.field=value`; all others are flags.
  """
  prefix = "--config."
  overrides = [a.removeprefix(prefix) for a in sys.argv if a.startswith(prefix)]
  run(
    functools.partial(main, overrides),
    *(("config",) if needs_config else ()),
    *required,
    argv=[a for a in sys.argv if not a.startswith(prefix)],
  )
