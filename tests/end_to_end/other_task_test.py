"""A task of another package, from training to its report, as users do it."""

import dataclasses
import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import decode_labels, encode_labels
from sapiens2_jax import validation
from sapiens2_jax.evaluation import online
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.examples import TaskExamples
from sapiens2_jax.training import writers
from tests import tiny, tiny_task
from tests.end_to_end import commands
from tests.evaluation import labelled, online_test

PACKAGE = pathlib.Path(__file__).parents[1] / "depth_package"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
  root = tmp_path_factory.mktemp("depth")
  numbers = {"train": range(6), "test": range(6, 9)}
  return {
    name: tiny_task.write_corpus(
      root / name, [labelled.make_record(n) for n in found]
    )
    for name, found in numbers.items()
  }


def run(env, name: str, *arguments: object) -> str:
  command = [sys.executable, "-m", f"sapiens2_jax.{name}", *map(str, arguments)]
  done = commands.run(command, env)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def read_json(path: pathlib.Path) -> dict:
  return json.loads(path.read_text())


@pytest.mark.slow
def test_depth_is_trained_measured_probed_predicted_and_reported(
  corpora, tmp_path
):
  env = commands.environment()
  env["PYTHONPATH"] = f"{commands.ROOT}:{PACKAGE}"
  work, train, test = tmp_path / "work", corpora["train"], corpora["test"]
  # Its examples are made in another process, which unpickles the task.
  out = run(
    *(env, "train", "--workdir", work),
    *("--config", f"{PACKAGE}/experiment.py:size=toy"),
    *(f"--config.data.path={train}", "--config.data.num_workers=1"),
    *(f"--config.evaluation.path={test}", "--config.evaluation.every=6"),
  )
  rows = writers.read_metrics(str(work))
  losses = [row["loss"] for row in rows if "loss" in row]
  assert len(losses) == 6 and losses[-1] < losses[0]
  assert "mean_metres" in rows[0] and "gradient " in out
  (last,) = [row for row in rows if "eval_abs_rel" in row]
  assert last["eval_images"] == 3

  run(
    *(env, "evaluate", "--checkpoint", work, "--data", test),
    *("--output", tmp_path / "measured"),
  )
  found = read_json(tmp_path / "measured" / "results.json")["results"]["depth"]
  assert found["abs_rel"] == pytest.approx(last["eval_abs_rel"], rel=1e-4)

  out = run(
    *(env, "probe", "--checkpoint", work, "--output", tmp_path / "probed"),
    *("--config", "probe:task=depth,size=toy"),
    *(f"--config.data.train={train}", f"--config.data.test={test}"),
    *("--config.data.image_size=(64,48)", "--config.optim.num_steps=3"),
    "--config.optim.warmup_steps=1",
  )
  assert "depth abs rel %" in out
  found = read_json(tmp_path / "probed" / "results.json")["results"]["depth"]
  assert 0 < found["abs_rel"] < 10 and found["images"] == 3

  images = commands.write_images(tmp_path / "images", 2)
  run(
    *(env, "predict", "--checkpoint", work, "--images", images),
    *("--output", tmp_path / "predicted", "--task", "depth", "--unit=0.5"),
  )
  for name in ("0", "1"):
    metres = np.load(tmp_path / "predicted" / "metres" / f"{name}.npy")
    picture = Image.open(tmp_path / "predicted" / "predictions" / f"{name}.png")
    size = Image.open(images / f"{name}.png").size
    assert metres.shape == size[::-1] and (metres > 0).all()
    assert picture.size == size
  page = (tmp_path / "predicted" / "index.html").read_text()
  assert "Bright is near. metres/*.npy" in page
  assert "--unit" in page  # An option of its own.

  run(env, "report", "--checkpoint", work, "--data", test)
  summary = read_json(work / "report" / "summary.json")
  assert summary["predictions"]["abs_rel"] == pytest.approx(
    last["eval_abs_rel"], rel=1e-4
  )
  page = (work / "report" / "index.html").read_text()
  assert "fine-tuning, depth" in page and "what the labels say" in page

  refused = commands.run(
    [
      *(sys.executable, "-m", "sapiens2_jax.export", "--checkpoint", str(work)),
      *("--format", "reference", "--output", str(tmp_path / "export")),
    ],
    env,
  )
  assert refused.returncode == 2
  assert "task depth has no release format" in refused.stderr


@pytest.fixture
def installed(monkeypatch):
  """The package in this process, and gone afterwards."""

  def clear():
    registry._installed.cache_clear()
    registry._imported.cache_clear()

  monkeypatch.syspath_prepend(PACKAGE)
  clear()
  yield
  monkeypatch.undo()
  clear()


def test_a_label_of_the_package_reaches_its_task(installed):
  record = labelled.make_record(3)
  known = decode_labels(record.labels)
  sure = np.where(known.depth < np.median(known.depth[known.mask]), 255, 90)
  with_more = encode_labels(known.replace(confidence=sure.astype(np.uint8)))
  config = validation.default_config("finetune", "depth")
  config.model.size = "toy"
  config.data.image_size = (64, 48)
  config.head.update(upsample_channels=(16, 12, 8, 8), conv_channels=(8,))
  config.task.confidence = True
  makers = {
    augment: TaskExamples(registry.make_task(config), augment=augment)
    for augment in (True, False)
  }
  for index in range(6):  # Some of them are mirrored.
    for maker in makers.values():
      out = {k: np.zeros(*v) for k, v in maker.element_spec().items()}
      maker.make(dataclasses.replace(record, labels=with_more), index, 0, out)
      depth = np.exp(out["log_depth"][out["mask"]])
      assert depth.max() < np.median(known.depth[known.mask]) + 1e-3
      assert 0.3 < out["mask"].sum() / (48 * 64 * known.mask.mean()) < 0.7
  with pytest.raises(UnusableExample, match="no confidence in the labels"):
    makers[False].make(record, 0, 0, {})


def test_pretraining_probes_depth_while_it_runs(corpora, installed):
  config = tiny.load_config(
    *("probes.every=2", f"probes.path={corpora['train']}"),
    "probes.tasks=('depth', 'normal')",
  )
  dataset = online.load(config)
  assert set(dataset.views) == {"letterbox"}  # One pass for both.
  found = online.measure(dataset, online_test.mean_colors, batch_size=4)
  assert 0 < found["depth_log_error"] < 1 and "normal_deg" in found


def test_without_the_package_there_is_no_such_task():
  command = [
    *(sys.executable, "-m", "sapiens2_jax.train", "--workdir", "unused"),
    *("--config", f"{PACKAGE}/experiment.py:size=toy"),
  ]
  done = commands.run(command, commands.environment())
  assert done.returncode == 2 and "unknown task.name 'depth'" in done.stderr
  assert "Traceback" not in done.stderr
