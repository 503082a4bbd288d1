"""The report of a tiny fine-tuning run with formula weights."""

import dataclasses
import json

import cv2
import pytest
from PIL import Image

from data_pipelines.corpus import records
from data_pipelines.corpus.labels import encode_labels
from sapiens2_jax.report.run import read_run
from sapiens2_jax.report.writing import write_report
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.objective import build_task
from sapiens2_jax.validation import read_config
from tests import tiny_task
from tests.interop import runs
from tests.report.pages import check_page
from tests.tasks import samples

SECTIONS = (
  "verdict predictions losses speed run export next photographs config"
).split()


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


def make_report(workdir, data_path=None):
  run = read_run(str(workdir), read_config)
  write_report(run, build_task(run.config).report()(run, data_path, 32))
  return read_outputs(workdir)


def read_outputs(workdir):
  folder = workdir / "report"
  page = (folder / "index.html").read_text()
  for name in SECTIONS:
    assert f'<section id="{name}"' in page
  check_page(page)
  assert "<i>tall" not in page and "& <b>" not in page
  return page, json.loads((folder / "summary.json").read_text()), folder


def test_report_of_a_task_run_has_every_part(workdir, capsys):
  # The corpus of the run, written otherwise.
  page, summary, folder = make_report(workdir, f"{workdir.parent}/corpus/")
  assert "bare.png: no labels" in page and "&lt;i&gt;tall.png" in page
  assert page.count("was trained on these photographs") == 2
  # Of each of two photographs three tiles, twice, and a curve of each metric.
  assert page.count("<img") == 2 * 2 * 3 + 4 + 1 + 4
  assert Image.open(folder / "predictions.png").mode == "RGB"
  assert not list(folder.glob("*.partial"))
  assert summary["metrics"]["loss"] == {"first": 2.0, "last": 1.5}
  assert summary["metrics"]["eval_mean"]["last"] == 20.5
  assert summary["metrics"]["loss_l1"]["last"] == 0.5
  assert summary["learned_params"] > 0
  found = summary["predictions"]
  assert found["num_photographs"] == 2 and 0 < found["mean"] < 180
  assert "20.500" in page  # mean, the last while training
  out = capsys.readouterr().out
  assert "last step  loss 1.500" in out and "metric     mean " in out


def test_report_without_photographs_says_what_is_missing(workdir, tmp_path):
  page, summary, _ = make_report(workdir, str(tmp_path / "gone"))
  assert "no such directory" in page and "with --data." in page
  assert summary["predictions"] is None


def test_what_cannot_be_exported_is_not_offered(workdir, monkeypatch):
  known = registry.definition("normal")
  bare = dataclasses.replace(known, release=None, truth=None, mask=None)
  monkeypatch.setattr(registry, "definition", lambda name: bare)
  run = read_run(str(workdir), read_config)
  write_report(run, build_task(run.config).report()(run, None, 1))
  page = (workdir / "report" / "index.html").read_text()
  assert "export" not in page.lower()
  assert "what the labels say" not in page and "Only people" not in page
