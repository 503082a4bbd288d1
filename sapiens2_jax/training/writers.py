"""Where metrics go: two JSON-lines files and TensorBoard."""

import json
import os

from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"
SPEED_FILE = "speed.jsonl"


def _read(path: str) -> list[dict]:
  """Whole lines of a file; a last line cut off by a kill is left out."""
  if not os.path.exists(path):
    return []
  with open(path) as file:
    return [json.loads(line) for line in file if line.endswith("\n")]


def read_metrics(workdir: str) -> list[dict]:
  """The rows of metrics.jsonl, in order of steps."""
  return _read(os.path.join(workdir, METRICS_FILE))


def read_speed(workdir: str) -> list[dict]:
  """The rows of speed.jsonl, in order of steps."""
  return _read(os.path.join(workdir, SPEED_FILE))


class Writers:
  """Writes rows of scalars, without those after the step of a resume.

  `metrics.jsonl` holds what the model computed and is a pure function of the
  run; `speed.jsonl` holds what the clock measured.
  """

  def __init__(self, workdir: str, start_step: int):
    self._files = {}
    for name in (METRICS_FILE, SPEED_FILE):
      path = os.path.join(workdir, name)
      kept = [row for row in _read(path) if row["step"] < start_step]
      partial = f"{path}.partial"
      with open(partial, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in kept)
      os.replace(partial, path)
      self._files[name] = open(path, "a", buffering=1)  # noqa: SIM115
    self._board = SummaryWriter(
      os.path.join(workdir, "tensorboard"), purge_step=start_step
    )

  def write(self, step: int, metrics: dict, speed: dict) -> None:
    """Appends one row to each; values are finite floats or None."""
    for name, row in ((METRICS_FILE, metrics), (SPEED_FILE, speed)):
      self._files[name].write(json.dumps({"step": step, **row}) + "\n")
      for key, value in row.items():
        if value is not None:
          group = "train" if name == METRICS_FILE else "speed"
          self._board.add_scalar(f"{group}/{key}", value, step)

  def close(self) -> None:
    for file in self._files.values():
      file.close()
    self._board.close()
