"""Workdirs of runs that nobody ran."""

import json
import math
import pathlib

from sapiens2_jax import config as config_lib
from sapiens2_jax.sweep import points
from sapiens2_jax.training import writers


def write_sweep(
  folder: pathlib.Path, body: str, base: str = "experiments/pretrain.py"
) -> str:
  """A sweep file over `toy` whose get_sweep() returns `body`."""
  path = folder / "sweep.py"
  path.write_text(
    f'BASE = "{base}:size=toy"\ndef get_sweep():\n  return {body}\n'
  )
  return str(path)


def make_points(folder, body: str, *common: str) -> list[points.Point]:
  path = write_sweep(folder, body)
  return points.make_points(path, str(folder / "runs"), list(common), 1)


def write_run(point: points.Point, num_rows: int, saved: bool = False) -> None:
  """Metrics of a run whose loss is its peak learning rate + 1 / step."""
  workdir = pathlib.Path(point.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  (workdir / writers.CONFIG_FILE).write_text(config_lib.to_json(point.config))
  lr = point.config.optim.peak_lr
  metrics = [
    {"step": i, "loss": lr + math.exp(-i), "loss_mae": lr, "rank_me": None}
    for i in range(num_rows)
  ]
  speed = [
    {
      "step": i,
      "images_per_second": 10.0 * i + 1,
      "step_seconds": 2.0,
      "eta_seconds": 2.0 * (point.num_steps - i - 1),
    }
    for i in range(num_rows)
  ]
  for name, rows in (("metrics.jsonl", metrics), ("speed.jsonl", speed)):
    (workdir / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
  if saved:
    (workdir / "checkpoints" / str(num_rows)).mkdir(parents=True)
