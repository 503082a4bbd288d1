"""Traces of some steps, for TensorBoard's profile tab and for xprof."""

import contextlib
import importlib.util
import os
import shutil
import tempfile
import time

import jax
from absl import logging
from ml_collections import ConfigDict

from data_pipelines.common import files, storage
from sapiens2_jax.training.state import TrainState

REQUEST = "profile_now"  # A file in the workdir; what it holds is not read.
_NUM_REQUESTED = 5  # Steps of a trace that is asked for with this file.


class Profiler:
  """Traces the steps of `logging.profile_steps`, and those asked for by file.

  A trace holds whole steps, of this process: the state is waited for before it
  starts and before it ends. The first step after a start is never in it, as it
  compiles.
  """

  def __init__(self, config: ConfigDict, workdir: str, start: int):
    """`start`: steps that were done when this process began."""
    self._workdir, self._start = workdir, start
    self._every = config.logging.every
    # (first, last): from when `first` steps are done until `last` are.
    self._wanted = []
    if config.logging.profile_steps:
      self._wanted.append(tuple(config.logging.profile_steps))
    self._looked = start
    self._first = self._last = None  # Of the trace that is running.
    self._directory = None

  def turn(self, step: int, state: TrainState) -> float:
    """Starts or ends a trace where it is time; to be called before each step.

    Args:
      step: steps that are done.
      state: after them.

    Returns:
      Seconds that went into the trace itself, not into steps.
    """
    if self._first is not None:
      return self.stop(step, state) if step >= self._last else 0.0
    self._look_for_request(step)
    lasts = [last for first, last in self._wanted if first <= step < last]
    if not lasts or step == self._start:
      return 0.0
    if wrong := _obstacle():
      self._give_up(wrong)
      return 0.0
    jax.block_until_ready(state)
    began = time.perf_counter()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Calls of Python would fill the trace.
    try:
      self._directory = tempfile.TemporaryDirectory()
      jax.profiler.start_trace(self._directory.name, profiler_options=options)
    except (OSError, RuntimeError) as error:  # Another profiler runs, say.
      self._give_up(error)
    else:
      self._first, self._last = step, max(lasts)
    return time.perf_counter() - began

  def stop(self, step: int, state: TrainState | None = None) -> float:
    """Ends a trace if one is running; it is kept if the steps end well.

    Args:
      step: steps that are done.
      state: after them; None if an error ended them.

    Returns:
      Seconds, as `turn`.
    """
    if self._first is None:
      return 0.0
    first, self._first = self._first, None
    if state is not None:
      jax.block_until_ready(state)
    began = time.perf_counter()
    with self._directory as directory:
      try:
        jax.profiler.stop_trace()
        if state is not None and step > first:
          self._keep(directory, f"steps_{first + 1}_to_{step}")
      except (OSError, RuntimeError) as error:  # A disk is full, say.
        self._give_up(error)
    return time.perf_counter() - began

  def _give_up(self, reason: object) -> None:
    """A run goes on without its traces."""
    logging.warning("no profile: %s", reason)
    self._wanted.clear()

  def _look_for_request(self, step: int) -> None:
    """Where a line was printed: in a bucket each look is a request."""
    if step % self._every or step == self._looked:
      return
    self._looked = step
    path = storage.join(self._workdir, REQUEST)
    with contextlib.suppress(OSError):  # Nothing that a run should end for.
      if storage.exists(path):
        storage.remove(path)
        self._wanted.append((step, step + _NUM_REQUESTED))

  def _keep(self, directory: str, name: str) -> None:
    """Copies a trace to where TensorBoard looks for it.

    Raises:
      OSError: it cannot be written there.
    """
    place = ("tensorboard", "plugins", "profile", name)
    target = storage.join(self._workdir, *place)
    for name in storage.find(directory):
      copy = storage.join(target, os.path.basename(name))
      with files.whole_path(copy) as partial:
        shutil.copyfile(os.path.join(directory, name), partial)
    print(f"profile    {target}", flush=True)


def _obstacle() -> str:
  """Why JAX's profiler would end the process here; "" if it would not."""
  if (
    jax.__version_info__ < (0, 12)
    and jax.default_backend() == "cpu"
    and not jax.config.jax_platforms
    and importlib.util.find_spec("libtpu")
  ):
    return "libtpu is installed, but there is no TPU; set JAX_PLATFORMS=cpu"
  return ""
