r"""Tells whether a run fits, and how fast it should be.

    sapiens2 plan --config pretrain:size=0.1b --device h100 --num_devices 8
    sapiens2 plan --config pretrain:size=1b --topology v5p:4x4x4

Needs none of the hardware. For TPUs (--topology) it compiles the step that
`sapiens2 train` runs, with the extra plan. For GPUs (--device) it counts what
the step holds, from its shapes.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator

import jax
from absl import flags

from data_pipelines.common.progress import format_seconds
from sapiens2_jax import command, validation
from sapiens2_jax import config as config_lib
from sapiens2_jax.gpus import GPUS
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.planning import compiling, gpu_plan, search, staged, text
from sapiens2_jax.planning import plan as plan_lib

_CONFIG = command.define_config()
_TOPOLOGY = flags.DEFINE_string("topology", None, "E.g. v5p:4x4x4, v5e:8x8.")
_DEVICE = flags.DEFINE_enum("device", None, list(GPUS), "A GPU.")
_NUM_DEVICES = flags.DEFINE_integer("num_devices", 1, "GPUs in all.")
_NUM_SLICES = flags.DEFINE_integer("num_slices", 1, "Slices, joined by DCN.")
_FAST = flags.DEFINE_bool(
  "fast", False, "Make no code: sooner, but without the compiler's cycles."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")
_SEARCH = flags.DEFINE_bool(
  "search", False, "Try meshes, microbatches and remat policies; minutes each."
)


@contextlib.contextmanager
def show_progress(what: str) -> Iterator[None]:
  """Says on stderr every 15 seconds that it still works."""
  start, done = time.perf_counter(), threading.Event()

  def report() -> None:
    while not done.wait(15):
      spent = format_seconds(time.perf_counter() - start)
      print(f"plan: {what}, {spent}", file=sys.stderr, flush=True)

  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()


def make_plan(config, num_devices: int, stage_steps=None) -> plan_lib.Plan:
  with show_progress(f"compiling {config.model.size} (1b takes minutes)"):
    return plan_lib.make_plan(
      config,
      _TOPOLOGY.value,
      _NUM_SLICES.value,
      num_devices,
      _FAST.value,
      stage_steps,
    )


def run_search(config, num_devices: int) -> plan_lib.Plan | None:
  """Compiles candidates one by one; the fastest that fits."""

  def attempt(overrides: dict[str, object]) -> plan_lib.Plan | None:
    named = " ".join(f"{name}={value}" for name, value in overrides.items())
    print(f"plan: {named}", file=sys.stderr)
    changed = search.with_overrides(config, overrides)
    problems = validation.validate(changed, num_devices)
    if problems:
      print(f"plan: left out: {problems[0][1]}", file=sys.stderr)
      return None
    try:
      plan = make_plan(changed, num_devices)
    except ValueError as error:
      print(f"plan: left out: {error}", file=sys.stderr)
      return None
    print(search.format_table([plan]), file=sys.stderr, flush=True)
    return plan

  chip = compiling.parse_topology(_TOPOLOGY.value)
  ranked = search.search(
    config, num_devices, _NUM_SLICES.value, chip.hbm_bytes, attempt
  )
  print(search.format_table(ranked), file=sys.stderr, flush=True)
  return ranked[0] if ranked else None


def load_config(overrides: list[str], num_devices: int):
  return config_lib.load_config(
    _CONFIG.value,
    overrides,
    lambda config: validation.validate(config, num_devices),
  )


def plan_gpus(overrides: list[str]) -> None:
  """Prints the account of a config on GPUs."""
  if _SEARCH.value or _FAST.value or _NUM_SLICES.value != 1:
    raise ValueError("--search, --fast and --num_slices: only with --topology.")
  if _NUM_DEVICES.value < 1:
    raise ValueError(f"num_devices={_NUM_DEVICES.value}: must be at least 1.")
  config = load_config(overrides, _NUM_DEVICES.value)
  stages, gpu = build_objective(config).stages(), GPUS[_DEVICE.value]
  count = _NUM_DEVICES.value
  with show_progress(f"tracing {config.model.size}"):
    plans = [
      gpu_plan.make_plan(stage.objective.config, gpu, count) for stage in stages
    ]
  totals = staged.bounds(stages, count, gpu.peak_flops)
  if _JSON.value:
    print(json.dumps(staged.to_json(stages, plans, gpu_plan.to_json, totals)))
    return
  bodies = [gpu_plan.body(plan) for plan in plans]
  end = [*staged.format_bounds(totals), gpu_plan.METHOD]
  print(staged.format_plans(stages, bodies, end))


def plan_tpus(config, num_devices: int) -> None:
  """Prints the plan of a config on a topology, at each of its sizes."""
  stages = build_objective(config).stages()
  if _SEARCH.value and stages[1:]:
    raise ValueError(
      f"--search: looks at one size, found data.stages={config.data.stages}; "
      "give --config.data.stages= and the largest sizes."
    )
  if _SEARCH.value:
    plans = [run_search(config, num_devices)]
    if plans == [None]:
      command.fail("plan: nothing that was tried fits.", code=1)
  else:
    plans = [
      make_plan(s.objective.config, num_devices, s.end - s.first)
      for s in stages
    ]
  totals, end = {}, [text.method(plans[-1])]
  if stages[1:] and all(plan.cost for plan in plans):
    days = sum(plan.days_for_all_steps for plan in plans)
    totals["days_for_all_steps"] = days
    end.insert(0, "all steps".ljust(19) + format_seconds(days * 86400))
  if _JSON.value:
    print(json.dumps(staged.to_json(stages, plans, plan_lib.to_json, totals)))
  else:
    print(staged.format_plans(stages, [text.body(p) for p in plans], end))


def main(overrides: list[str]) -> int:
  jax.config.update("jax_platforms", "cpu")  # A TPU here is not to be used.
  if (_TOPOLOGY.value is None) == (_DEVICE.value is None):
    raise ValueError("give one of --topology (TPUs) and --device (GPUs).")
  if _DEVICE.value is not None:
    plan_gpus(overrides)
    return 0
  if _NUM_DEVICES.value != 1:
    raise ValueError("--num_devices: only with --device.")
  if _NUM_SLICES.value < 1:
    raise ValueError(f"num_slices={_NUM_SLICES.value}: must be at least 1.")
  num_devices = len(
    compiling.topology_devices(_TOPOLOGY.value, _NUM_SLICES.value)
  )
  plan_tpus(load_config(overrides, num_devices), num_devices)
  return 0


def run() -> None:
  command.run_with_config(main, "config")


if __name__ == "__main__":
  run()
