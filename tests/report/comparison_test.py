"""Runs side by side, of any kind and with anything missing."""

import json
import os
import pathlib
import shutil
import sys

import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax.evaluation.goals import find_goal
from sapiens2_jax.report import comparison
from sapiens2_jax.validation import read_config
from tests import forking
from tests.data_pipelines import fake_bucket
from tests.report.pages import check_page
from tests.sweep import workdirs

FINETUNE = "experiments/finetune.py:task=normal,size=toy"
# Of each run its probes: A and B have been measured, C has not.
PROBES = {
  "seed=0": {"probe_normal_deg": 30.0, "probe_recall_1": 0.5},
  "seed=1": {"probe_normal_deg": 20.0, "probe_recall_1": 0.5},
}


def add_row(workdir, row):
  with (pathlib.Path(workdir) / "metrics.jsonl").open("a") as file:
    file.write(json.dumps(row) + "\n")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
  """Workdirs of three runs of pretraining and one of fine-tuning."""
  folder = tmp_path_factory.mktemp("runs & <b>")
  points = workdirs.make_points(folder, '[{"seed": i} for i in range(3)]')
  for point in points:
    workdirs.write_run(point, 5)
    if point.name in PROBES:
      add_row(point.workdir, {"step": 4, **PROBES[point.name]})
  task = folder / "task"
  task.mkdir()
  config = config_lib.load_config(FINETUNE, [], lambda config: [])
  (task / "config.json").write_text(config_lib.to_json(config))
  for step, value in ((3, 40.0), (9, 25.0)):
    add_row(task, {"step": step, "loss": 1.0, "eval_mean": value})
  return [*(point.workdir for point in points), str(task)]


def compare(*places):
  runs = comparison.read_runs(places, read_config)
  page = comparison.make_page(runs, find_goal)
  return check_page(page), page


def test_the_best_of_each_number_is_marked(places):
  found, page = compare(*places[:2])
  assert (
    "Of 2 numbers of probes and evaluations, B" in page
    and "is best in 1, A in 0; 1 tied" in page
  )
  row = page[page.index("probe_normal_deg (lower is better)") :]
  row = row[: row.index("</tr>")]
  assert "<td>30</td>" in row and "<td>20 ✓ best</td>" in row
  # Of a tie both are; of what nothing is known none.
  assert page.count("0.5 ✓ best") == 2
  assert "rank_me (" not in page
  assert "<td>seed</td><td>0</td><td>1</td>" in page
  assert "different kinds" not in page and "different steps" not in page
  assert any(text.startswith("Curves of loss: A 1.00") for text in found.texts)


def test_what_a_run_lacks_is_said(places):
  _, page = compare(*places)
  assert "Not measured in C, D." in page  # probes
  assert "Not measured in A, B, C." in page  # the evaluation
  assert "<td>not measured</td>" in page
  assert "D fine-tuning on normal" in page and "different steps" in page
  # One run alone has no best.
  row = page[page.index("eval_mean (lower is better)") :]
  assert "best" not in row[: row.index("</tr>")]
  # Nor has a loss that is of two kinds.
  row = page[page.index("loss (lower is better)") :]
  assert "best" not in row[: row.index("</tr>")]
  assert "<b>" not in page


def test_without_probes_the_loss_makes_no_best_run(places, tmp_path):
  _, page = compare(places[2], places[3])
  assert "Nothing says which run is better" in page
  add_row(places[2], {"step": 4, "probe_normal_deg": None})
  _, page = compare(places[1], places[2])
  assert "<td>not finite</td>" in page and "20 ✓ best" not in page


def test_numbers_of_other_images_are_not_compared(places, tmp_path):
  other = tmp_path / "other"
  shutil.copytree(places[1], other)
  config = json.loads((other / "config.json").read_text())
  config["probes"]["path"] = "harder"
  (other / "config.json").write_text(json.dumps(config))
  _, page = compare(places[0], str(other))
  assert "probes.path or probes.num_images differ" in page
  assert "Nothing says which run is better" in page
  _, page = compare(*places[:2])
  assert "probes.num_images differ" not in page


def test_runs_in_a_bucket_are_read_as_those_on_disk(places, tmp_path):
  root = tmp_path / "bucket"
  with fake_bucket.serving(root):
    for name, place in zip("ab", places):
      target = root / name
      target.mkdir(parents=True)
      for file in pathlib.Path(place).glob("*.json*"):
        (target / file.name).write_bytes(file.read_bytes())
    _, remote = compare("gs://any/a", "gs://any/b")
  _, local = compare(*places[:2])
  for place, name in zip(places, "ab"):
    local = local.replace(html_of(place), f"gs://any/{name}")
  assert remote == local


def html_of(text):
  return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_what_is_no_run_is_refused(places, tmp_path):
  bad = tmp_path / "bad"
  bad.mkdir()
  for given, said in (
    (places[:1], "1 run to compare; give at least two"),
    ([places[0], places[0] + "/"], "is given twice"),
    ([places[0], str(tmp_path / "gone")], "gone: no such directory"),
    ([places[0], str(bad)], "bad: no config.json"),
  ):
    with pytest.raises(ValueError, match=said):
      comparison.read_runs(given, read_config)
  (bad / "config.json").write_text("{")
  with pytest.raises(ValueError, match="config.json: is no JSON"):
    comparison.read_runs([places[0], str(bad)], read_config)


def test_the_command_writes_the_page(places, tmp_path):
  page = tmp_path / "page.html"
  command = [sys.executable, "-m", "sapiens2_jax.compare", f"--output={page}"]
  done = forking.run([*command, *places[:2]], os.environ)
  assert done.returncode == 0 and "compared   2 runs" in done.stdout
  check_page(page.read_text())
