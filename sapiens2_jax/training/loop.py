"""Feeds the step, reads its metrics one step later, logs and saves."""

import collections
import dataclasses
import functools
import os
import time
from collections.abc import Callable

import jax
import numpy as np

from data_pipelines.common import storage
from data_pipelines.common.files import whole_file
from data_pipelines.common.progress import format_seconds
from data_pipelines.loading.prefetch import Prefetcher
from data_pipelines.loading.skips import SkipMonitor
from sapiens2_jax.runtime import distributed, gathering, goodput, memory
from sapiens2_jax.runtime.goodput import Timeline
from sapiens2_jax.runtime.save_schedule import SaveSchedule
from sapiens2_jax.training import flops, stages
from sapiens2_jax.training.best import KeepBest
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.objective import Measurement, Objective
from sapiens2_jax.training.profiling import Profiler
from sapiens2_jax.training.state import TrainState
from sapiens2_jax.training.tracking import Tracker
from sapiens2_jax.training.writers import Writers

_POLL_SECONDS = 1.0
# Between two looks that others get at a run in a bucket, where an object may be
# written once a second; what a save needs goes at once.
_SHOW_SECONDS = 30.0
_PART = "loss_"  # Metrics of this name add up to the loss.


class NonFiniteError(RuntimeError):
  """Too many updates in a row were not finite."""


@dataclasses.dataclass
class Clock:
  """Where the time since the last log line went, in seconds."""

  started: float
  waited: float = 0.0
  steps: int = 0
  useful_flops: int = 0  # of these steps

  def count(self, useful_flops: int) -> None:
    """Takes in a step that costs so many FLOPs."""
    self.steps += 1
    self.useful_flops += useful_flops

  def speed(self, images: int) -> dict:
    """What was reached; `images` are those of a step."""
    elapsed = time.perf_counter() - self.started
    rate = images * self.steps / elapsed
    useful, peak = self.useful_flops / elapsed, flops.peak_flops()
    return {
      "images_per_second": rate,
      "step_seconds": elapsed / self.steps,
      "data_wait": self.waited / elapsed,
      "useful_flops_per_second": useful,
      "mfu": None if peak is None else useful / peak,
      **memory.in_use(),
    }


def format_line(step: int, num_steps: int, metrics: dict, speed: dict) -> str:
  """One line of progress with the parts of the loss; unknown values: `-`.

  Args:
    step: that was done.
    num_steps: of the run.
    metrics: of the step.
    speed: of `Clock.speed`, and `eta_seconds`.
  """
  parts = " ".join(
    f"{name.removeprefix(_PART)} {value:.3f}"
    for name, value in metrics.items()
    if name.startswith(_PART)
  )
  loss = f"{metrics['loss']:.3f}" + (f" ({parts})" if parts else "")
  mfu = "-" if speed["mfu"] is None else f"{speed['mfu']:.0%}"
  peak, limit = speed["device_bytes_peak"], speed["device_bytes_limit"]
  used = "-" if None in (peak, limit) else f"{peak / limit:.0%}"
  return (
    f"step {step + 1}/{num_steps}  loss {loss}  "
    f"gnorm {metrics['grad_norm']:.2f}  lr {metrics['lr']:.1e}  "
    f"{speed['images_per_second']:.1f} img/s  mfu {mfu}  "
    f"mem {used}  wait {speed['data_wait']:.0%}  "
    f"eta {format_seconds(speed['eta_seconds'])}"
  )


def own_file(name: str) -> str:
  """`name` for process 0; `stem-N.ending` for process N."""
  if jax.process_index() == 0:
    return name
  stem, ending = os.path.splitext(name)
  return f"{stem}-{jax.process_index()}{ending}"


class _Report:
  """What is told about the steps: by process 0, but for skipped images."""

  def __init__(
    self,
    objective: Objective,
    workdir: str,
    start: int,
    timeline: Timeline,
    tracker: Tracker | None,
  ):
    config = objective.config
    self._config, self._workdir = config, workdir
    self._timeline = timeline
    self._stages = objective.stages()
    self._costs = {
      stage.first: stages.step_flops(stage.objective) for stage in self._stages
    }
    is_writer = distributed.is_writer()
    self._writers = Writers(workdir, start, tracker) if is_writer else None
    self._skips = SkipMonitor(
      os.path.join(workdir, own_file("skipped.jsonl")),
      max_skipped_fraction=config.data.max_skipped_fraction,
      start_step=start,
    )
    # Host copies of the batches whose metrics have not been read yet.
    self._recent: collections.deque = collections.deque(maxlen=2)
    self._next_show = 0.0
    self.clock = Clock(time.perf_counter())

  def take(self, step: int, loaded) -> None:
    """Takes in the batch of a step."""
    self._skips.update(step, loaded.host["index"].size, loaded.skipped)
    self._recent.append((step, loaded.host))

  def count(self, step: int) -> None:
    """Takes in that a step was started."""
    self.clock.count(self._costs[stages.stage_at(self._stages, step).first])

  def read(self, step: int, metrics: dict) -> None:
    """Takes in the metrics of a step, after the next one was started."""
    optim = self._config.optim
    streak = int(metrics["nonfinite_streak"])
    if streak:
      print(f"step {step + 1}: not finite, skipped ({streak} in a row)")
    if streak >= optim.max_nonfinite_steps:
      path = os.path.join(self._workdir, own_file("nonfinite_batch.npz"))
      with whole_file(path) as file:
        np.savez(file, **dict(self._recent)[step])
      if self._writers:
        self._writers.show()
      raise NonFiniteError(
        f"step {step + 1}: loss or gradient not finite {streak} times in a "
        f"row (optim.max_nonfinite_steps); the batch is in {path}."
      )
    if step % self._config.logging.every and step + 1 != optim.num_steps:
      return
    if self._writers:
      if not self.clock.steps:
        self.count(step)
      speed = self.clock.speed(self._config.data.global_batch_size)
      remaining = stages.remaining_flops(
        self._stages, self._costs.values(), step + 1
      )
      speed["eta_seconds"] = remaining / speed["useful_flops_per_second"]
      distributed.check_lock()
      values = _known(jax.device_get(metrics))
      self._writers.write_metrics(step, values)
      self._writers.write_speed(step, speed)
      shown = {k: np.nan if v is None else v for k, v in values.items()}
      print(format_line(step, optim.num_steps, shown, speed), flush=True)
      self._show()
    self.clock = Clock(time.perf_counter())

  def _show(self) -> None:
    """Lets others see how far the run is."""
    now = time.monotonic()
    if now < self._next_show:
      return
    self._writers.show()
    goodput.save(self._timeline.ledger, self._workdir)
    if storage.is_remote(self._workdir):
      self._next_show = now + _SHOW_SECONDS

  def measured(
    self, prefix: str, step: int, results: dict[str, float], seconds: float
  ) -> None:
    """Takes in what was measured after `step`, and how long it took."""
    self.clock.started += seconds
    if not self._writers:
      return
    self._writers.write_metrics(
      step, _known({f"{prefix}_{name}": x for name, x in results.items()})
    )
    shown = "  ".join(f"{name} {value:.4g}" for name, value in results.items())
    print(f"{prefix} {step + 1}  {shown}", flush=True)

  def is_best(self, best: KeepBest) -> None:
    """Takes in that the newest checkpoint is the best one."""
    print(
      f"best {best.step}  {best.value:.4g}, its checkpoint is kept", flush=True
    )

  def sync(self) -> None:
    """Waits until all that was told is on the disk, or in the bucket."""
    self._skips.sync()
    if self._writers:
      self._writers.sync()

  def pictured(
    self, prefix: str, step: int, name: str, picture: np.ndarray
  ) -> None:
    """Takes in a picture of what was measured after `step`."""
    if self._writers:
      self._writers.write_picture(step, f"{prefix}/{name}", picture)

  def saved(self, step: int) -> None:
    """Takes in that a save was begun."""
    self._timeline.ledger.mark(step)
    goodput.save(self._timeline.ledger, self._workdir)

  def close(self) -> None:
    if self._writers:
      self._writers.close()


def train(
  state: TrainState,
  step_fn: Callable,
  loader: Prefetcher,
  *,
  objective: Objective,
  workdir: str,
  first_example: int,
  checkpointer: Checkpointer,
  timeline: Timeline,
  measurement: Measurement | None = None,
  tracker: Tracker | None = None,
) -> bool:
  """Runs until `optim.num_steps` or SIGTERM; saves at the end of either.

  Args:
    state: where to start, on its devices; donated.
    step_fn: jitted (state, batches) -> (state, metrics); compiles at the first
      step and where another stage begins.
    loader: yields `data.Loaded` from `first_example` on.
    workdir: for metrics, skipped images and a batch to replay.
    first_example: global index of the first example of the loader.
    checkpointer: still writing when this returns.
    measurement: taken at its interval and at the end.
    tracker: is sent all rows and pictures; of process 0 only.

  Returns:
    Whether all steps are done.

  Raises:
    NonFiniteError: after `optim.max_nonfinite_steps` skipped updates in a
      row; the last batch is saved for replay.
    TooManySkipped: if too many images could not be read.
  """
  config = objective.config
  start = step = int(state.step)
  borders = {stage.first for stage in objective.stages()} - {0}
  num_steps = config.optim.num_steps
  batch_size = config.data.global_batch_size
  # From here on SIGTERM saves: JAX has heard of a step, to pick a later one.
  distributed.should_stop(start)
  timeline.enter("data", start)
  profiler = Profiler(config, workdir, start)
  report = _Report(objective, workdir, start, timeline, tracker)
  schedule = SaveSchedule(
    start,
    every=config.checkpoint.every,
    keep_every=config.checkpoint.keep_every,
    mtbf=3600 * config.checkpoint.mtbf_hours,
    trained=timeline.ledger.trained,
    share=distributed.broadcast,
  )

  pending = None  # Step and metrics of the step before.
  measured = None  # Numbers of the present state.

  def read_pending() -> None:
    nonlocal pending
    if pending is not None:
      report.read(*pending)
      pending = None

  def save(is_local: bool = False) -> None:
    # Before: a restart from what is saved never does these steps again.
    read_pending()
    report.sync()
    jax.block_until_ready(state)  # The step's own time is no cost of saving.
    timeline.enter("save", step)
    distributed.check_lock()
    next_example = first_example + (step - start) * batch_size
    if is_local:
      checkpointer.save_local(state, step, next_example)
    else:
      checkpointer.save(state, step, next_example, measured)
    report.saved(step)

  def is_measurement_due() -> bool:
    return measurement is not None and (
      step % measurement.every == 0 or step == num_steps
    )

  def measure() -> None:
    nonlocal measured
    timeline.enter("evaluate", step)
    started = time.perf_counter()
    results = measurement.run(
      state,
      lambda _: timeline.enter("evaluate", step),
      functools.partial(report.pictured, measurement.prefix, step - 1),
    )
    # What they decide, all must decide alike.
    results = gathering.gather(results)[0]
    seconds = time.perf_counter() - started
    prefix = measurement.prefix
    measured = _known({f"{prefix}_{k}": x for k, x in results.items()})
    report.measured(prefix, step - 1, results, seconds)

  try:
    if step == 0 and measurement is not None and measurement.is_first:
      measure()
    while step < num_steps and not distributed.should_stop(step):
      if distributed.is_writer():
        report.clock.started += profiler.turn(step, state)
      timeline.enter("data", step)
      waiting = time.perf_counter()
      loaded = loader.poll(_POLL_SECONDS)
      report.clock.waited += time.perf_counter() - waiting
      if loaded is None:  # Look for SIGTERM.
        continue
      report.take(step, loaded)
      is_new = step == start or step in borders
      timeline.enter("compile" if is_new else "step", step)
      with (
        jax.transfer_guard("disallow"),
        jax.profiler.StepTraceAnnotation("train", step_num=step),
      ):
        state, metrics = step_fn(state, loaded.batch)
      timeline.enter("step", step)
      report.count(step)
      read_pending()
      pending = (step, metrics)
      step += 1
      measured = None
      checkpointer.poll()
      if is_measurement_due():
        # Before a save of this step: what is saved has been measured.
        read_pending()
        measure()
      is_best = checkpointer.best.is_better(measured or {})
      # At a border: compiling takes long, and the next step may not fit.
      if is_best or schedule.is_due(step) or step in borders:
        save()
        if is_best:
          report.is_best(checkpointer.best)
        if step in borders:  # What a step takes is not known any more.
          schedule.begin(step, timeline.ledger.trained)
          continue
        schedule.saved(
          step,
          cost=timeline.unchanged(),
          written=checkpointer.written,
          trained=timeline.ledger.trained,
        )
      elif checkpointer.is_local_due(step):
        save(is_local=True)
    timeline.enter("step", step)
    save()
    profiler.stop(step, state)  # After: SIGTERM leaves little time.
  finally:
    profiler.stop(step)
    report.close()
  if step < num_steps:
    print(f"Saved step {step} after SIGTERM.", flush=True)
  return step >= num_steps


def _known(values: dict) -> dict[str, float | None]:
  return {k: float(v) if np.isfinite(v) else None for k, v in values.items()}
