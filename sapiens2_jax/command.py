"""What all commands share: flags, errors and exit codes."""

import functools
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from absl import app, flags, logging

from data_pipelines.common import errors, paths
from data_pipelines.sources.base import ShardReadError
from sapiens2_jax import config as config_lib

_HELP_CONFIG = "--help=config"


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


def define_config(default: str | None = None) -> flags.FlagHolder:
  """The flag --config of commands that have an experiment."""
  text = "Experiment: NAME, NAME:ARGUMENTS, or a FILE.py for a name"
  return flags.DEFINE_string("config", default, text)


def define_rope_dtype(known: Iterable[str]) -> flags.FlagHolder:
  """The flag --rope_dtype of commands that compute with weights."""
  return flags.DEFINE_enum(
    "rope_dtype",
    None,
    sorted(known),
    "Number format of RoPE; default: what the weights were trained with.",
  )


def _format_flag(flag: flags.Flag, is_required: bool) -> str:
  text = flag.help.removesuffix(".")
  if is_required:
    text += " (required)"
  elif flag.default not in (None, False):
    text += f" (default: {flag.default})"
  return _fold(f"--{flag.name}", text)


def _fold(name: str, text: str) -> str:
  indent = " " * 20
  lines = textwrap.wrap(
    f"  {name:<17} {text}",
    width=80,
    subsequent_indent=indent,
    break_on_hyphens=False,
  )
  return "\n".join(lines)


def _print_help(text: str, required: Iterable[str], has_config: bool) -> None:
  """The docstring of a command, and our flags; not those of libraries."""
  print(text.rstrip(), end="\n\nflags:\n")
  # Of a module that is run Abseil knows no other name.
  ours = ("sapiens2_jax", sys.argv[0])
  for module, found in flags.FLAGS.flags_by_module_dict().items():
    for flag in found if module.startswith(ours) else ():
      print(_format_flag(flag, flag.name in required))
  if has_config:
    print("  --config.GROUP.FIELD=VALUE")
    print(_fold("", "Overrides a field; --help=config lists all of --config"))


def run(
  main: Callable[..., int | None],
  *required: str,
  argv: list[str] | None = None,
  takes: int = 0,
  takes_more: bool = False,
) -> None:
  """Runs `main` as a command; `~` in its arguments is the user's home.

  A mistake in the flags ends the program with its message and code 2; an error
  in `main` with the code that `errors.exit_code` gives it. --help shows the
  docstring and the flags.

  Args:
    main: returns the exit code, None for 0; called with the arguments that are
      no flags, if there are to be any.
    *required: flags that must be given.
    argv: what to parse instead of sys.argv.
    takes: how many arguments are no flags.
    takes_more: whether there may be more of them.
  """
  given = getattr(main, "func", main)  # By run_with_config.
  if _HELP_CONFIG in sys.argv and given is main:
    fail(f"{_HELP_CONFIG}: this command has no --config")
  argv = [paths.expand_home(a) for a in (sys.argv if argv is None else argv)]
  if not {"--help", "-h"}.isdisjoint(argv):
    text = sys.modules[given.__module__].__doc__
    has_config = given is not main and (takes or "config" in flags.FLAGS)
    _print_help(text, required, has_config)
    sys.exit(0)

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

  app.run(guarded, argv=argv, flags_parser=parse)


def run_with_config(
  main: Callable[..., int | None],
  *required: str,
  takes: int = 0,
) -> None:
  """Runs `main(overrides)` as a command; otherwise like `run`.

  Arguments `--config.group.field=value` are the overrides, as
  `group.field=value`; all others are flags. --help=config shows all fields.
  """
  prefix = "--config."
  overrides = [a.removeprefix(prefix) for a in sys.argv if a.startswith(prefix)]
  argv = [a for a in sys.argv if not a.startswith(prefix)]
  if _HELP_CONFIG in argv:
    argv.remove(_HELP_CONFIG)
    run(functools.partial(_print_fields, overrides), argv=argv, takes=takes)
  run(functools.partial(main, overrides), *required, argv=argv, takes=takes)


def _print_fields(overrides: list[str], *specs: str) -> None:
  """What --help=config says of the experiment."""
  from sapiens2_jax.validation import showing  # Imports JAX.

  if not specs:
    if "config" not in flags.FLAGS:
      raise ValueError(f"{_HELP_CONFIG}: this command has no --config")
    specs = [flags.FLAGS["config"].value]
  for spec in specs:
    if spec is None:
      known = ", ".join(config_lib.experiments())
      raise ValueError(f"{_HELP_CONFIG}: give --config, too; one of {known}.")
    print(showing.describe(showing.read(spec, overrides)))
