"""What reads a run reads one in a bucket: weights, exports, reports."""

import jax
import numpy as np
import pytest

from data_pipelines.common import storage
from sapiens2_jax.interop import exports, weights
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.report import facts
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.run import read_run
from sapiens2_jax.report.writing import write_report
from sapiens2_jax.training import writers
from sapiens2_jax.validation import read_config
from tests.data_pipelines import fake_bucket
from tests.interop import runs

RUN = "gs://runs/a"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """The directory that the bucket is of; a/ is a run of a few rows."""
  root = tmp_path_factory.mktemp("bucket")
  with fake_bucket.serving(root):
    runs.write_run(RUN)
    rows = writers.Writers(RUN, 0)
    for step in range(5):  # The checkpoint is of step 3.
      rows.write_metrics(step, {"loss": 1.0 / (step + 1)})
      rows.write_speed(step, {"step_seconds": 1.0, "images_per_second": 8.0})
    rows.sync()
    rows.close()
    yield root


def test_weights_and_exports_are_those_of_a_copy_on_a_disk(root, tmp_path):
  assert weights.find_weights(RUN).description == f"{RUN}, step 3, teacher"
  _, params = load_pretrained(f"{RUN}/")
  expected = runs.as_numpy(runs.toy_params())
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  written = []
  for number, path in enumerate((RUN, f"{RUN}/checkpoints/3", root / "a")):
    found, output = weights.find_weights(path), tmp_path / str(number)
    request = exports.make_request(found, "reference", None)
    name = exports.write_export(
      output, found, weights.read_weights(found), request
    )
    assert exports.find_damage(output, request) == []
    written.append((output / name).read_bytes())
  assert written[0] == written[1] == written[2]


def test_a_fingerprint_tells_another_checkpoint(root):
  first = weights.find_weights(RUN).fingerprint
  assert weights.find_weights(RUN).fingerprint == first
  runs.write_run("gs://runs/other", "seed=1")
  assert weights.find_weights("gs://runs/other").fingerprint != first


def test_what_is_no_run_is_named(root):
  with pytest.raises(
    ValueError, match="gs://runs/none: no training run; other"
  ):
    weights.find_weights("gs://runs/none")
  with pytest.raises(ValueError, match="gs://runs/none: no such directory"):
    read_run("gs://runs/none", read_config)


def test_a_report_is_read_from_and_written_to_the_bucket(root, capsys):
  run = read_run(f"{RUN}/", read_config)
  assert [row["step"] for row in run.metrics] == [0, 1, 2]
  assert run.step == 3 and run.saved.endswith(" UTC")
  contents = Contents(
    title="a run",
    experiment="experiments/pretrain.py:size=toy",
    facts=[],
    sections=[],
    notes={},
    commands=[],
    pictures={},
    credits=[],
    missing="",
    can_export=True,
  )
  page = write_report(run, contents)
  assert page == f"{RUN}/report/index.html"
  assert "a run" in storage.read_bytes(page).decode()
  assert (root / "a" / "report" / "summary.json").exists()
  assert not (root / "a" / ".report.lock").exists()
  lines = [command for _, command in facts.next_commands(run, contents)]
  assert f"--checkpoint {RUN} --format transformers --output a/export" in (
    "\n".join(lines)
  )
