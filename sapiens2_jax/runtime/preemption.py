"""SIGTERM, and the step at which all processes stop for it."""

import signal
from collections.abc import Callable

import jax
from jax.experimental import multihost_utils


class StopRequest:
  """Says when to stop for a SIGTERM that came to any process.

  One process notes the signal itself. Of several, JAX notes it, tells the
  others and picks the step, so no handler of ours may replace JAX's.
  """

  def __init__(self, start: int, agree: Callable[[int], bool] | None = None):
    """Listens from now on.

    Args:
      start: step that comes first.
      agree: whether all processes stop at this step; None: JAX's, and of one
        process its own signals.
    """
    self._is_alone = agree is None and jax.process_count() == 1
    self._agree = agree or multihost_utils.reached_preemption_sync_point
    self._received = False
    if self._is_alone:
      self._previous = signal.signal(signal.SIGTERM, self._note)
    elif start > 1:
      # Before anyone asked, JAX would have picked step 1.
      self._received = self._agree(1)

  def _note(self, *_) -> None:
    self._received = True

  def reached(self, step: int) -> bool:
    """Whether to stop before `step`; must be asked at each, in order."""
    if self._is_alone or self._received:
      return self._received
    return self._agree(step)

  def close(self) -> None:
    if self._is_alone:
      signal.signal(signal.SIGTERM, self._previous)
