"""The report of a tiny fine-tuning run with formula weights."""

import json

import cv2
import pytest
from PIL import Image

from data_pipelines.corpus import records
from data_pipelines.corpus.labels import encode_labels
from sapiens2_jax.report import task_report
from sapiens2_jax.report.run import read_run
from sapiens2_jax.validation import read_config
from tests import tiny_task
from tests.interop import runs
from tests.report.page_test import links
from tests.tasks import samples

SECTIONS = "run curves predictions next photographs".split()


def make_record(name, size, is_labelled=True):
  image, labels = samples.ball(size)
  data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
  return records.Record(
    data,
    *size,
    records.hash_content(data),
    name,
    labels=encode_labels(labels) if is_labelled else b"",
  )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  root = tmp_path_factory.mktemp("run & <b>")
  corpus = tiny_task.write_corpus(
    root / "corpus",
    [
      make_record("<i>tall.png", (90, 60)),
      make_record("bare.png", (50, 50), is_labelled=False),
      make_record("wide.png", (70, 120)),
    ],
  )
  runs.write_task_run(root / "work", "normal", step=6, path=corpus)
  parts = {f"loss_{name}": 0.5 for name in ("cosine", "l1", "gradient")}
  rows = [
    {"step": step, "loss": 2.0 - step / 10, **parts, "lr": 1e-3}
    for step in (0, 5, 10)
  ]
  evaluated = {"eval_mean": 20.5, "eval_images": 2.0, "eval_skipped": 1.0}
  rows.insert(2, {"step": 5, **evaluated})
  (root / "work" / "metrics.jsonl").write_text(
    "".join(json.dumps(row) + "\n" for row in rows)
  )
  return root / "work"


def read_outputs(workdir):
  folder = workdir / "report"
  page = (folder / "index.html").read_text()
  for name in SECTIONS:
    assert f'<section id="{name}">' in page
  for link in links(page).links:
    assert link.startswith(("data:image/", "#"))
  assert "<i>tall" not in page and "& <b>" not in page
  return page, json.loads((folder / "summary.json").read_text()), folder


def test_report_of_a_task_run_has_every_part(workdir, capsys):
  run = read_run(str(workdir), read_config)
  task_report.write_report(run, None, 32)
  page, summary, folder = read_outputs(workdir)
  assert "bare.png: no labels" in page and "&lt;i&gt;tall.png" in page
  assert "was trained on these" in page
  assert page.count("<img") == 4  # losses, evaluation, speed, predictions
  assert Image.open(folder / "predictions.png").mode == "RGB"
  assert not list(folder.glob("*.partial"))
  assert summary["metrics"]["loss"] == {"first": 2.0, "last": 1.5}
  assert summary["metrics"]["eval_mean"]["last"] == 20.5
  assert summary["learned_params"] == run.num_learned > 0
  found = summary["predictions"]
  assert found["num_photographs"] == 2 and 0 < found["mean"] < 180
  out = capsys.readouterr().out
  assert "loss 2.000 to 1.500" in out and "mean" in out


def test_report_without_photographs_says_what_is_missing(workdir, tmp_path):
  run = read_run(str(workdir), read_config)
  task_report.write_report(run, str(tmp_path / "gone"), 32)
  page, summary, _ = read_outputs(workdir)
  assert "no such directory" in page and "--data_path" in page
  assert summary["predictions"] is None


def test_the_loss_comes_first_and_counts_are_no_curves():
  rows = [
    {"step": 0, "accuracy": 1, "loss": 2, "loss_a": 1, "lr": 1, "grad_norm": 1},
    {"step": 0, "eval_images": 1, "eval_skipped": 1, "eval_x": 1},
    {"step": 1, "nonfinite_streak": 0},
  ]
  found = task_report.metric_names(rows)
  assert found == (["loss", "loss_a", "accuracy"], ["eval_x"])
