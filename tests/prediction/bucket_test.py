"""Commands that run a model read it from a bucket, and write to one."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.prediction import inputs
from tests import forking, tiny_task
from tests.data_pipelines import fake_bucket
from tests.data_pipelines.fake_bucket import read_all
from tests.evaluation import labelled
from tests.interop import runs
from tests.prediction import models

# The server of `forking` read what fsspec is told before there was a bucket.
PROGRAM = """
import runpy, sys
import fsspec
import tests.tiny
fsspec.config.set_conf_env(fsspec.config.conf)
runpy.run_module("sapiens2_jax." + sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture
def root(tmp_path):
  """The directory that the bucket is of; run/ is a run of fine-tuning."""
  with fake_bucket.serving(tmp_path / "bucket"):
    runs.write_task_run("gs://any/run", "normal")
    yield tmp_path / "bucket"


def run(name: str, *arguments: object) -> str:
  words = [sys.executable, "-c", PROGRAM, name, *map(str, arguments)]
  done = forking.run(words, os.environ)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def test_predictions_are_those_of_a_copy_on_a_disk(root, tmp_path):
  images = models.write_images(tmp_path / "images")
  shutil.copytree(root / "run", tmp_path / "run")
  for place in ("gs://any", tmp_path):
    said = run(
      *("predict", "--checkpoint", f"{place}/run", "--images", images),
      *("--output", f"{place}/out"),
    )
    assert f"gallery    {place}/out/index.html" in said
  found, wanted = (read_all(x / "out") for x in (root, tmp_path))
  pages = found.pop("index.html"), wanted.pop("index.html")
  assert found == wanted and "normals/wide.npy" in found
  assert b"gs://any/run, step 3" in pages[0]
  assert pages[0].count(b"predictions/") == pages[1].count(b"predictions/")
  assert not (root / ".out.lock").exists()


def test_features_are_read_and_written_in_a_bucket(root):
  models.write_images(root / "images")
  run(
    *("features", "--checkpoint", "gs://any/run", "--images=gs://any/images"),
    *("--output=gs://any/out.npz", "--patches=gs://any/patches"),
  )
  paths = [root / "images" / name for name in sorted(models.SIZES)]
  wanted = load_pretrained(root / "run").features(paths)
  with np.load(root / "out.npz") as found:
    assert found["names"].tolist() == sorted(models.SIZES)
    np.testing.assert_allclose(found["cls"], wanted.cls, atol=1e-5)
  found = np.load(root / "patches" / "wide.npy")
  np.testing.assert_allclose(found, wanted.patches[1], atol=1e-5)


def test_a_metric_is_that_of_a_copy_on_a_disk(root, tmp_path):
  records = [labelled.make_record(number) for number in range(2)]
  data = tiny_task.write_corpus(tmp_path / "data", records)
  shutil.copytree(root / "run", tmp_path / "run")
  for place in ("gs://any", tmp_path):
    run(
      *("evaluate", "--checkpoint", f"{place}/run", "--data", data),
      *("--output", f"{place}/out"),
    )
  found, wanted = (
    json.loads((x / "out" / "results.json").read_text())
    for x in (root, tmp_path)
  )
  assert found["checkpoint"] == "gs://any/run" and found["step"] == 3
  assert found["results"] == wanted["results"]


def test_an_output_in_a_bucket_lies_in_no_folder(root, tmp_path, monkeypatch):
  images = models.write_images(root / "images")
  monkeypatch.chdir(images)
  assert len(inputs.open_images(".", "gs://any/out")) == 3
  assert len(inputs.open_images("gs://any/images", "gs://any/images2")) == 3
  for output in ("gs://any/images/out", "gs://any/images"):
    with pytest.raises(ValueError, match="would be read as images"):
      inputs.open_images("gs://any/images", output)
