"""benchmarks/first_steps.py at its smallest."""

import json

import pytest

from sapiens2_jax.config import load_module
from tests import tiny_task
from tests.benchmarks.running import run
from tests.end_to_end import commands

pytestmark = pytest.mark.slow
SCRIPT = commands.ROOT / "benchmarks" / "first_steps.py"
SMALL = (
  "data.image_size=(64, 48)",
  "data.local_size=(48, 16)",
  "model.decoder_layers=1",
  "model.scan=true",
)


def first_steps(root, **options):
  flags = {"--sizes": "toy", "--task_size": "toy", "--output": root, **options}
  return run(
    "benchmarks/first_steps.py",
    *(part for flag in flags.items() for part in flag),
    *(f"--config.{override}" for override in SMALL),
  )


def test_steps_resume_export_and_a_task(tmp_path):
  corpus = commands.write_images(tmp_path / "photographs", 2)
  records = [tiny_task.make_record(number) for number in range(2)]
  people = tiny_task.write_corpus(tmp_path / "people", records)
  given = {"--corpus": corpus, "--people": people, "--tasks": "matting"}
  root = tmp_path / "steps"
  found = first_steps(root, **given)
  steps, resumed = found["toy"]["steps"], found["toy"]["resume"]
  assert len(steps["losses"]) == 3 and steps["falls"]
  assert steps["losses"][2] < steps["losses"][0]
  assert steps["images"] == 2 and len(steps["losses_koleo"]) == 3
  assert 0 < steps["steps_peak_gib"] <= steps["peak_gib"] < 3
  assert 0 < steps["share_of_matmul"] < 1
  assert resumed["equal_arrays"] == resumed["resumed_arrays"] > 100
  assert resumed["transformers"]["max_abs_output"] > 1
  task = found["tasks"]["matting"]
  # All but a few that a single image may leave as they are.
  assert task["changed_arrays"] > 0.8 * task["arrays"]
  assert not (root / "toy" / "run").exists()  # Checkpoints are large.

  # What is there is not done again; a size without room is not resumed.
  file, resumed = (root / "toy" / f"{x}.json" for x in ("steps", "resume"))
  kept = json.loads(file.read_text())
  misfit = kept | {"fits": False, "account_gib": 1e6}
  file.write_text(json.dumps(misfit))
  resumed.unlink()
  again = first_steps(root, **given)
  assert again["toy"]["steps"]["losses"] == steps["losses"]
  assert again["toy"]["resume"] == {} and again["tasks"] == found["tasks"]


def test_what_did_not_fit_a_smaller_limit_is_done_again(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(SCRIPT.parent)
  module = load_module(SCRIPT)
  steps, resumed = (tmp_path / f"{part}.json" for part in ("steps", "resume"))

  def left(fits: bool, limit_gib: float) -> bool:
    steps.write_text(json.dumps({"fits": fits, "account_gib": 18.0}))
    resumed.write_text("{}")
    module.forget_misfit(str(tmp_path), limit_gib)
    assert steps.exists() == resumed.exists()
    return steps.exists()

  assert left(True, 22.0) and left(False, 16.0) and not left(False, 22.0)
