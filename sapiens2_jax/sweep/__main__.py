r"""Runs an experiment at many points, here or as jobs.

    sapiens2 sweep --config sweeps/learning_rate --output runs/lr \
      --config.data.path=corpus/ --dry_run

The same command continues a sweep that was stopped; --collect writes the
results so far and runs nothing. --metric says what points are ranked by, such
as probe_normal_deg. --via starts each point with a launcher of a clone, whose
flags stand after --:

  sapiens2 sweep --via slurm --num_devices 8 --config ... --output ... \
    -- --nodes 1 --gpus_per_node 8
"""

import shlex
import subprocess
import sys

from absl import flags

from sapiens2_jax import checking, command
from sapiens2_jax.sweep import jobs, local, points, ranking, results
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.table import cells, format_table
from sapiens2_jax.training import checkpoints
from sapiens2_jax.training.best import Goal

_CONFIG = command.define_config()
_OUTPUT = flags.DEFINE_string("output", None, "Folder for all workdirs.")
_VIA = flags.DEFINE_enum(
  "via", "local", ["local", *jobs.NAME_FLAGS], "Where the points run."
)
_NUM_DEVICES = flags.DEFINE_integer(
  "num_devices", None, "Devices of each run; local: all.", lower_bound=1
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands only.")
_COLLECT = flags.DEFINE_bool("collect", False, "Write the results only.")
_METRIC = flags.DEFINE_string(
  "metric",
  ranking.DEFAULT,
  'Number of metrics.jsonl to rank by; "NAME max" or "NAME min" of one of '
  "which nothing is known.",
)


def count_devices() -> int:
  """What --num_devices says, or is here.

  Raises:
    ValueError: if it must be given and is not.
  """
  if _NUM_DEVICES.value is not None:
    return _NUM_DEVICES.value
  if _VIA.value != "local":
    raise ValueError(f"--via={_VIA.value} needs --num_devices, of one run")
  # Asked in a child, which gives the devices back.
  code = "import jax; print(jax.device_count())"
  found = subprocess.check_output([sys.executable, "-c", code])
  return int(found.split()[-1])


def labels_of(sweep: list[points.Point]) -> list[str]:
  """Short names: only what tells the points apart."""
  fields = points.varying_fields([point.values for point in sweep])
  return [
    points.point_name({f: p.values[f] for f in fields if f in p.values})
    for p in sweep
  ]


def run_locally(sweep: list[points.Point], goal: Goal) -> int:
  if _DRY_RUN.value:
    for point in sweep:
      print(shlex.join(["sapiens2", "train", *point.train_flags()]))
    return 0
  points.check_workdirs(sweep)
  states = local.run_all(sweep, labels_of(sweep), sys.stdout)
  write_results(sweep, states, goal)
  return int(status_lib.FAILED in states)


def check_jobs(sweep: list[points.Point]) -> None:
  """Looks at what every point would open; see `checking`.

  Raises:
    ValueError: with what would end some of them, each told once.
  """
  problems = {}
  for point in sweep:
    try:
      checking.check(
        point.config,
        point.workdir,
        _NUM_DEVICES.value,
        is_elsewhere=_VIA.value != "slurm",  # Whose disks a login node sees.
        say=lambda _: None,
      )
    except (ValueError, OSError) as error:
      problems.setdefault(str(error), point.name)
  if problems:
    lines = [f"{name}: {text}" for text, name in problems.items()]
    raise ValueError("\n".join(lines))


def start_jobs(sweep: list[points.Point], launcher_flags: list[str]) -> int:
  via, output = _VIA.value, _OUTPUT.value
  commands = [
    jobs.job_command(via, jobs.job_name(output, i), point, launcher_flags)
    for i, point in enumerate(sweep)
  ]
  if _DRY_RUN.value:
    print("\n".join(map(shlex.join, commands)))
    return 0
  check_jobs(sweep)
  failed = []
  for words in commands:
    print(f"+ {shlex.join(words)}", flush=True)
    if subprocess.run(words).returncode:
      failed.append(words)
  for words in failed:
    print(f"not started: {shlex.join(words)}", file=sys.stderr)
  return int(bool(failed))


def collect(sweep: list[points.Point], goal: Goal) -> int:
  """Shows and writes what the workdirs hold."""
  statuses = local.statuses_of(sweep)
  rows = zip(labels_of(sweep), statuses, [p.num_steps for p in sweep])
  print("\n".join(format_table([cells(*row) for row in rows])))
  write_results(sweep, [status.state for status in statuses], goal)
  return 0


def write_results(
  sweep: list[points.Point], states: list[str], goal: Goal
) -> None:
  ranked = ranking.rank(sweep, states, labels_of(sweep), goal)
  paths = results.collect(sweep, states, ranked, _OUTPUT.value)
  print("\n".join(ranked.lines()))
  print(f"results    {' '.join(paths)}")


def main(overrides: list[str], launcher_flags: list[str]) -> int:
  if launcher_flags and _VIA.value == "local":
    raise ValueError(f"flags after -- need --via: {' '.join(launcher_flags)}")
  if not checkpoints.can_be_in(_OUTPUT.value):
    raise ValueError(
      f"--output={_OUTPUT.value}: expected a folder, or gs://BUCKET/NAME"
    )
  sweep = points.make_points(
    _CONFIG.value, _OUTPUT.value, overrides, count_devices()
  )
  goal = ranking.read_metric(_METRIC.value, sweep)
  if _COLLECT.value:
    return collect(sweep, goal)
  if _VIA.value == "local":
    return run_locally(sweep, goal)
  return start_jobs(sweep, launcher_flags)


def split_flags(argv: list[str]) -> tuple[list[str], list[str]]:
  """Own flags, and those of the launcher, which stand after --."""
  end = argv.index("--") if "--" in argv else len(argv)
  return argv[:end], argv[end + 1 :]


def run() -> None:
  sys.argv, launcher = split_flags(sys.argv)
  command.run_with_config(
    lambda found: main(found, launcher), "config", "output"
  )


if __name__ == "__main__":
  run()
