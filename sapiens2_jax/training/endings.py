"""What an error that ends a run says, and its exit code."""

import traceback

from data_pipelines import sources
from data_pipelines.common import errors, locks
from data_pipelines.loading.loader import NoUsableImage, WorkerDied
from data_pipelines.loading.prefetch import LoaderStalled
from data_pipelines.loading.skips import TooManySkipped
from sapiens2_jax.runtime import memory
from sapiens2_jax.training import loop
from sapiens2_jax.training.best import NotMeasuredError

# What ends a run with one line and exit code 1.
_FATAL = (
  loop.NonFiniteError,
  TooManySkipped,
  NoUsableImage,
  WorkerDied,
  LoaderStalled,
  sources.ShardReadError,
  OSError,  # Of disks: a save, a file of metrics.
)


def explain(error: Exception, *, is_start: bool) -> tuple[str, int]:
  """What to say of an error that ends the run, and the exit code.

  Args:
    error: must be the one that is being handled.
    is_start: before the first step; later hardly anything is the user's
      mistake.
  """
  if (line := memory.explain(error, memory.RUN)) is not None:
    return line, errors.OUT_OF_MEMORY
  if isinstance(error, NotMeasuredError):  # Known at the first measurement.
    return str(error), errors.MISTAKE
  if is_start and isinstance(error, (ValueError, OSError)):
    return str(error), errors.exit_code(error)
  if isinstance(error, (*_FATAL, locks.LockedError)):
    return str(error), errors.FAILURE
  return traceback.format_exc(), errors.FAILURE
