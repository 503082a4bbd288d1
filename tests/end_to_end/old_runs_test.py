"""What the first version wrote is reported, measured, exported, continued."""

import json
import os
import sys

import numpy as np
import pytest

from sapiens2_jax.interop.tensors import open_tensors
from sapiens2_jax.training import writers
from tests import old_runs
from tests.end_to_end import commands

pytestmark = pytest.mark.slow
PROGRAM = """
import runpy, sys
import tests.old_runs
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def unpack(directory):
  for name in ("corpora", "pretrain", "normal", "written"):
    old_runs.unpack(name, directory)
  return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  return unpack(tmp_path_factory.mktemp("old"))


def run(place, module, *arguments):
  """Runs a command in the directory that the paths of the runs start from."""
  env = commands.environment()
  command = [sys.executable, "-c", PROGRAM, f"sapiens2_jax.{module}"]
  done = commands.run([*command, *arguments], env, cwd=place)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout + done.stderr


def resume(place, name, experiment):
  """Continues a run with the config that it was written with."""
  config = json.loads((place / name / "config.json").read_text())
  overrides = [
    f"--config.{group}.{field}={value}"
    for group, fields in config.items()
    if isinstance(fields, dict)
    for field, value in fields.items()
    if (group, field) not in (("data", "max_skipped_share"), ("task", "name"))
  ]
  spec = f"{commands.ROOT}/experiments/{experiment}"
  return run(place, "train", "--config", spec, "--workdir", name, *overrides)


@pytest.mark.parametrize(
  ("name", "experiment"),
  [
    ("pretrain", "pretrain.py:size=toy"),
    ("normal", "finetune.py:task=normal,size=toy"),
  ],
)
def test_an_old_run_goes_on_as_it_did(tmp_path, name, experiment):
  place = unpack(tmp_path)
  before = writers.read_metrics(str(place / name))
  assert before[-1]["step"] == 7
  said = resume(place, name, experiment)
  assert "resumed at step 4" in said
  assert "renamed data.max_skipped_share to data.max_skipped_fraction" in said
  after = writers.read_metrics(str(place / name))
  assert [row["step"] for row in after] == [row["step"] for row in before]
  for row, wanted in zip(after, before):
    assert row == pytest.approx(wanted, rel=1e-4, nan_ok=True), wanted["step"]


def test_an_old_run_is_exported_to_the_same_tensors(place):
  for style in ("transformers", "reference"):
    output = place / f"again_{style}"
    arguments = ("--format", style, "--output", str(output))
    run(place, "export", "--checkpoint", "pretrain", *arguments)
    found, wanted = open_tensors(output), open_tensors(place / style)
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
      expected, array = tensor.load(), found[key].load()
      if key == "rope_embed.periods":
        # These said bfloat16, whatever RoPE the run was trained with.
        assert array.dtype == np.float32
        array = array.astype(expected.dtype)
      assert array.tobytes() == expected.tobytes(), key


def assert_measured_alike(place, folder):
  found, wanted = (
    json.loads((place / name / "results.json").read_text())
    for name in (folder, "evaluated")
  )
  assert found["results"]["normal"] == pytest.approx(
    wanted["results"]["normal"], rel=1e-5
  )


def test_an_old_task_is_measured_as_it_was(place):
  arguments = ("--data", "labelled", "--output", "evaluated_again")
  run(place, "evaluate", "--checkpoint", "normal", *arguments)
  assert_measured_alike(place, "evaluated_again")


def test_what_it_exports_is_imported_and_measured_alike(place):
  arguments = ("--format", "reference", "--output", "released")
  run(place, "export", "--checkpoint", "normal", *arguments)
  arguments = ("--checkpoint", "released", "--output", "imported")
  said = run(place, "import_weights", *arguments)
  assert " finetune:task=normal,size=smallest " in said
  arguments = ("--data", "labelled", "--output", "evaluated_import")
  said = run(place, "evaluate", "--checkpoint", "imported", *arguments)
  assert "normal of imported, on labelled" in said
  assert_measured_alike(place, "evaluated_import")


@pytest.mark.parametrize("name", ["pretrain", "normal"])
def test_an_old_run_has_a_report(place, name):
  said = run(place, "report", "--checkpoint", name)
  assert "config of version 0" in said
  page = place / name / "report" / "index.html"
  assert page.stat().st_size > 10_000
  assert os.fspath(page.name) in said
