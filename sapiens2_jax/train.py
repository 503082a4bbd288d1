r"""Pretrains, or fine-tunes if the experiment has a task.

    sapiens2 train --config pretrain:size=toy --workdir runs/mine \
      --config.data.path=corpus/ --config.optim.num_steps=500

Any field of the config is overridden by --config.GROUP.FIELD=VALUE. The same
command continues a run that was stopped. With --check it only looks whether it
could.
"""

import contextlib
import os

import jax
from absl import flags
from ml_collections import ConfigDict

from data_pipelines.common import errors, storage
from data_pipelines.common.files import write_file
from sapiens2_jax import checking, command, validation
from sapiens2_jax import config as config_lib
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.objectives import build_objective, stages_of
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling
from sapiens2_jax.runtime import compile_cache, distributed, exits, goodput
from sapiens2_jax.runtime.watchdog import Watchdog
from sapiens2_jax.training import (
  announce,
  checkpoints,
  data,
  endings,
  loop,
  optimizer,
  starting,
  tracking,
  writers,
)
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.local_checkpoints import LocalCheckpoints
from sapiens2_jax.training.step import jit_train_step

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives")
_CHECK = flags.DEFINE_bool("check", False, "Look at all inputs, start nothing")
_NUM_DEVICES = flags.DEFINE_integer(
  "num_devices", None, "--check: of the run; else those here.", lower_bound=1
)
_ELSEWHERE = flags.DEFINE_bool(
  "elsewhere",
  False,
  "--check: other machines run it; paths that are not here are no mistake.",
)


def open_workdir(config: ConfigDict, workdir: str) -> None:
  """Makes it, and locks it for this job.

  Raises:
    ValueError: nothing can keep checkpoints there, another job runs there, or
      it is not the same place for all processes.
  """
  checking.refuse_scheme(workdir)
  distributed.hold(workdir, config.distributed.start_timeout)


def write_config(config: ConfigDict, workdir: str) -> None:
  """Writes the resolved config before the first step."""
  if distributed.is_writer():
    distributed.check_lock()
    path = os.path.join(workdir, writers.CONFIG_FILE)
    write_file(path, config_lib.to_json(config).encode())


def keep_compiled_programs(config: ConfigDict, workdir: str) -> None:
  """A restart finds the step compiled; JAX's own setting goes first."""
  given = config.checkpoint.compile_cache
  place = given or storage.join(workdir, "compile_cache")
  compile_cache.keep_in(storage.absolute(place))


def open_checkpoints(
  config: ConfigDict,
  workdir: str,
  mesh,
  abstract,
  started: float,
  described: dict,
) -> checkpoints.Checkpointer:
  """Those in the workdir, and those on the hosts' disks if there are any.

  Args:
    started: when the run first started; tells its local checkpoints from those
      of an earlier one in the same workdir.
    described: the data, by `data.describe`.
  """
  local = None
  if config.checkpoint.local_every:
    run_id = distributed.broadcast("run_id", round(1000 * started))
    local = LocalCheckpoints(config.checkpoint, mesh, abstract, run_id)
  read_config = validation.read_config
  return checkpoints.Checkpointer(
    workdir, config, read_config, local, described
  )


def open_tracker(config: ConfigDict, workdir: str) -> tracking.Tracker | None:
  """Of process 0, before anything is compiled; see `tracking`."""
  if not distributed.is_writer():
    return None
  return tracking.open_tracker(config, workdir)


def stacks_path(workdir: str) -> str:
  """Where this process writes its stacks if it hangs."""
  return os.path.join(workdir, f"stacks-{jax.process_index()}.txt")


def start_watchdog(
  config: ConfigDict, workdir: str, timeline: goodput.Timeline
) -> Watchdog:
  """Ends the run, with exit code 1, if it hangs."""
  return Watchdog(
    timeline,
    stacks_path(workdir),
    timeout=config.watchdog.timeout,
    start_timeout=config.watchdog.start_timeout,
    end=lambda message: distributed.end(message, 1),
  )


def compile_later_stages(step_fn, objective, mesh, abstract, start) -> None:
  """The steps of stages after the one of `start`, for the cache of programs.

  The TPU compiler refuses one that does not fit the memory: here, and not when
  most of the run is done.
  """
  for stage in objective.stages():
    if stage.first > start:
      batches = compiling.abstract_batches(stage.objective, mesh)
      step_fn.lower(abstract, batches).compile()


def close_ledger(timeline: goodput.Timeline, workdir: str) -> None:
  """Accounts for all time until now, and prints where it went."""
  timeline.enter("save", timeline.step)
  goodput.save(timeline.ledger, workdir)
  print(timeline.ledger.line())


def run_loop(watchdog: Watchdog, loader, checkpointer, **run) -> None:
  """`loop.train` and its end; an error ends all processes."""
  try:
    is_done = loop.train(loader=loader, checkpointer=checkpointer, **run)
    checkpointer.close()
    watchdog.stop()
    close_ledger(run["timeline"], run["workdir"])
    if run["tracker"]:
      run["tracker"].close()
    if is_done:
      announce.results(run["workdir"])
    return
  except Exception as error:
    message, code = endings.explain(error, is_start=False)
    may_be_echo = message.startswith("Traceback")
  if jax.process_count() == 1:  # Of several, closing waits for all.
    with contextlib.suppress(Exception):  # The first error counts.
      checkpointer.close()
  loader.close()
  distributed.end(message, code, may_be_echo=may_be_echo)


def train(overrides: list[str]) -> None:
  timeline = goodput.Timeline()
  config = checking.load_config(_CONFIG.value, overrides)
  workdir = _WORKDIR.value
  distributed.follow(timeline, stacks_path(workdir))
  open_workdir(config, workdir)
  # Before what all must have opened: a host whose disk hangs would hold all.
  watchdog = start_watchdog(config, workdir, timeline)
  objective = build_objective(config)
  source = data.open_source(objective)
  mesh = mesh_lib.make_mesh(config.mesh)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state_lib.abstract_state(config, objective, tx, mesh)
  measurement = objective.measurement(mesh, abstract)
  announce.facts(objective, mesh, source, abstract, workdir)
  newest = checkpoints.find(workdir, config.checkpoint.verify)
  starting.check_fits(
    *(config, workdir, newest, abstract),
    *(validation.read_config, stages_of),
  )

  write_config(config, workdir)
  keep_compiled_programs(config, workdir)
  earlier = goodput.load(workdir)
  checkpointer = open_checkpoints(
    config,
    workdir,
    mesh,
    abstract,
    (earlier or timeline.ledger).started,
    data.describe(source),
  )
  state, next_example = starting.restore_or_init(
    objective, checkpointer, tx, abstract, open_parts, load_pretrained
  )
  start, num_steps = int(state.step), config.optim.num_steps
  if start >= num_steps:
    watchdog.stop()
    checkpointer.close()
    print(f"all {num_steps} steps are done")
    announce.results(workdir)
    return

  tracker = open_tracker(config, workdir)
  timeline.resume(earlier, start)
  goodput.save(timeline.ledger, workdir)
  timeline.enter("compile", start)
  step_fn = jit_train_step(objective, tx, config, mesh, abstract)
  compile_later_stages(step_fn, objective, mesh, abstract, start)
  loader = data.make_prefetcher(
    objective,
    source,
    mesh,
    start_step=next_example // config.data.global_batch_size,
    num_steps=num_steps - start,
  )
  run_loop(
    watchdog,
    loader,
    checkpointer,
    state=state,
    step_fn=step_fn,
    objective=objective,
    workdir=workdir,
    first_example=next_example,
    timeline=timeline,
    measurement=measurement,
    tracker=tracker,
  )
  if not loader.close():
    distributed.finish()
    exits.leave(0)


def check(overrides: list[str]) -> None:
  """Tells what would end the run at its start."""
  checking.check_run(
    _CONFIG.value,
    overrides,
    _WORKDIR.value,
    _NUM_DEVICES.value or jax.device_count(),
    is_elsewhere=_ELSEWHERE.value,
  )


def main(overrides: list[str]) -> None:
  try:
    if _CHECK.value:
      check(overrides)
    elif _NUM_DEVICES.value is not None or _ELSEWHERE.value:
      raise ValueError("--num_devices and --elsewhere are for --check.")
    else:
      train(overrides)
    distributed.finish()
  except Exception as error:
    message, code = endings.explain(error, is_start=True)
  except KeyboardInterrupt:
    message = "stopped; the same command continues at the newest checkpoint"
    code = errors.INTERRUPTED
  else:
    return
  distributed.end(message, code)


def run() -> None:
  command.run_with_config(main, "config", "workdir")


if __name__ == "__main__":
  run()
