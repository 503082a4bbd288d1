"""Traces and Weights & Biases, over a stop and a restart of a run."""

import collections
import json
import pathlib
import signal
import struct

import jax
import pytest

from sapiens2_jax.training import profiling, tracking, writers
from tests.end_to_end import commands
from tests.end_to_end.resuming import num_rows

pytestmark = pytest.mark.slow
NUM_STEPS = 30  # As in resume_test.py: compiled once.
OPTIONS = (
  f"optim.num_steps={NUM_STEPS}",
  "checkpoint.every=20",
  "logging.profile_steps=(3,5)",
  "logging.wandb_project=people",
)
_BLOCK, _HEADER = 32768, 7


def read_records(path: pathlib.Path) -> list[bytes]:
  """Records of a file of wandb: LevelDB's log format after seven bytes."""
  data, at, records, part = path.read_bytes(), _HEADER, [], b""
  while at + _HEADER <= len(data):
    left = _BLOCK - at % _BLOCK
    if left < _HEADER:  # No header fits: zeros up to the next block.
      at += left
      continue
    _, size, kind = struct.unpack_from("<IHB", data, at)
    part += data[at + _HEADER : at + _HEADER + size]
    at += _HEADER + size
    if kind in (1, 4):  # Whole, or the last part.
      records.append(part)
      part = b""
  return records


def sent(workdir) -> tuple[set[str], dict[str, dict[int, float]]]:
  """Names of the runs, and values by metric and step, of all files."""
  from wandb.proto import wandb_internal_pb2

  names, values = set(), collections.defaultdict(dict)
  paths = sorted((workdir / "wandb").glob("offline-run-*/*.wandb"))
  assert len(paths) == 2  # One for each start.
  for data in (one for path in paths for one in read_records(path)):
    record = wandb_internal_pb2.Record.FromString(data)
    if record.run.run_id:
      assert record.run.project == "people"
      names.add(record.run.run_id)
    row = {
      ".".join(item.nested_key) or item.key: json.loads(item.value_json)
      for item in record.history.item
    }
    for key, value in row.items():
      if "step" in row:
        values[key][row["step"]] = value
  return names, values


def traced(workdir) -> dict[str, list[int]]:
  """Steps of each trace; its steps ran, and none compiled."""
  found = {}
  root = workdir / "tensorboard" / "plugins" / "profile"
  for path in sorted(root.glob("*/*.xplane.pb")):
    data = jax.profiler.ProfileData.from_file(str(path))
    events = [e for p in data.planes for line in p.lines for e in line.events]
    steps = [dict(e.stats)["step_num"] for e in events if e.name == "train"]
    found[path.parent.name] = steps
    # The program is in it, by whose names xprof groups the work.
    for scope in (b"teacher", b"student", b"decoder", b"update"):
      assert scope in path.read_bytes()
    assert not [e for e in events if "Compile" in e.name]
  return found


def test_a_run_is_traced_and_tracked_over_its_restart(tmp_path):
  data = commands.write_images(tmp_path / "images")
  env = commands.environment() | {"WANDB_MODE": "offline"}
  workdir = tmp_path / "run"
  command = commands.tiny_command(workdir, data, *OPTIONS)
  stopped = commands.run_until(
    command, env, lambda: num_rows(workdir) >= 8, signal.SIGTERM
  )
  assert stopped.returncode == 0, stopped.log
  assert traced(workdir) == {"steps_4_to_5": [3, 4]}

  (workdir / profiling.REQUEST).touch()
  done = commands.run(command, env)
  assert done.returncode == 0, done.stdout + done.stderr
  (asked,) = traced(workdir).keys() - {"steps_4_to_5"}
  assert len(traced(workdir)[asked]) == 5

  names, values = sent(workdir)
  expected = json.loads((workdir / tracking.FILE).read_text())["id"]
  assert names == {expected}
  rows = {row["step"]: row for row in writers.read_metrics(str(workdir))}
  assert sorted(rows) == list(range(NUM_STEPS))
  for key in ("loss", "grad_norm"):
    assert values[f"train/{key}"] == {s: row[key] for s, row in rows.items()}
  assert min(values["speed/host_bytes"].values()) > 2**26
