"""The whole report of a tiny run with random weights."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from sapiens2_jax import config as config_lib
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.pretrain.objective import build_pretrain
from sapiens2_jax.report import __main__ as report
from sapiens2_jax.report import analysis
from sapiens2_jax.report.run import read_run
from sapiens2_jax.training import optimizer
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config

ROOT = pathlib.Path(__file__).parents[2]
SECTIONS = (
  "run curves reconstruction features neighbors export next photographs"
).split()


def make_config(data_path):
  return config_lib.load_config(
    f"{ROOT}/experiments/pretrain.py:size=toy",
    [
      f"data.path={data_path}",
      "data.image_size=(64, 48)",
      "data.local_size=(32, 32)",
      "data.global_batch_size=8",
      "model.decoder_layers=1",
      "model.decoder_dim=32",
      "model.decoder_heads=2",
      "model.prototypes=16",
      "model.head_hidden_dim=16",
      "model.bottleneck_dim=8",
      "model.scan=True",
    ],
    lambda config: [],
  )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """Workdir and state of a run that never made a step."""
  root = tmp_path_factory.mktemp("run & <b>")
  photos = root / "photos"
  photos.mkdir()
  rng = np.random.default_rng(0)
  for name, size in (("<i>tall.png", (70, 100)), ("wide.png", (120, 80))):
    small = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.BICUBIC).save(photos / name)
  (photos / "broken.jpg").write_bytes(b"no image")
  config = make_config(photos)
  objective = build_pretrain(config)
  tx = optimizer.make_optimizer(config.optim)
  mesh = mesh_lib.make_mesh(config.mesh)
  abstract = state_lib.abstract_state(config, objective, tx, mesh)
  state = state_lib.init_state(0, objective, tx, abstract)
  checkpointer = Checkpointer(str(root / "work"), config, read_config)
  checkpointer.save(state, 6, 48)
  checkpointer.close()
  rows = [
    {"step": step, "loss_mae": 1.0 - step / 10, "rank_me": None}
    for step in (0, 5, 10)
  ]
  (root / "work" / "metrics.jsonl").write_text(
    "".join(json.dumps(row) + "\n" for row in rows)
  )
  return root / "work", state


@pytest.fixture
def workdir(saved):
  return saved[0]


def read_outputs(workdir):
  folder = workdir / "report"
  page = (folder / "index.html").read_text()
  return page, json.loads((folder / "summary.json").read_text()), folder


def check_page(page):
  for name in SECTIONS:
    assert f'<section id="{name}">' in page
  for quote in ("src=", "href="):
    for part in page.split(quote)[1:]:
      assert part.startswith(('"data:image/', '"#'))
  assert "<i>tall" not in page and "& <b>" not in page


@pytest.mark.slow
def test_report_of_a_run_has_every_part(workdir, capsys):
  run = read_run(str(workdir), read_config)
  report.write_report(run, run.config.data.path, 32)
  page, summary, folder = read_outputs(workdir)
  check_page(page)
  assert page.count("<img") == 6
  assert "broken.jpg" in page and "&lt;i&gt;tall.png" in page
  for name in ("overview", "reconstruction", "components", "neighbors"):
    assert Image.open(folder / f"{name}.png").mode == "RGB"
  assert not list(folder.glob("*.partial"))
  # Steps after the checkpoint are not part of the run that is shown.
  assert summary["metrics"]["loss_mae"] == {"first": 1.0, "last": 0.5}
  found = summary["reconstruction"]
  assert 0.9 < found["shown_patch_mean_loss"] < 1
  assert found["num_shown"] == 2 and found["shown_loss"] > 0.5
  assert summary["retrieval"]["num_crops"] == 8
  assert summary["retrieval"]["chance"] == pytest.approx(3 / 7)
  assert 1 <= summary["retrieval"]["rank_me"] <= 8
  assert sum(summary["components"]["explained_variance"]) <= 1 + 1e-9
  assert summary["num_photographs"] == 3
  assert "learning" in capsys.readouterr().out


def test_report_without_photographs_says_what_is_missing(workdir, tmp_path):
  run = read_run(str(workdir), read_config)
  report.write_report(run, str(tmp_path / "gone"), 32)
  page, summary, _ = read_outputs(workdir)
  check_page(page)
  assert "no such directory" in page and "--data_path" in page
  assert page.count("<img") == 3
  assert summary["reconstruction"] is None
  assert summary["metrics"]["loss_mae"]["last"] == 0.5


@pytest.mark.parametrize(
  "step, expected", [(0, 0), (2, 0), (4, 0), (5, 0), (6, 1), (60, 19)]
)
def test_last_whole_pass_was_made_whole(workdir, step, expected):
  config = read_run(str(workdir), read_config).config  # 8 images a step
  assert analysis.last_whole_pass(config, step, 24) == expected


def test_learned_parameters_are_counted(saved):
  workdir, state = saved
  counted = sum(x.size for x in jax.tree.leaves(state.params))
  assert read_run(str(workdir), read_config).num_learned == counted


@pytest.mark.parametrize("made", [True, False])
def test_wrong_directory_is_one_line_and_code_2(tmp_path, made):
  path = tmp_path if made else tmp_path / "none"
  done = subprocess.run(
    [sys.executable, "-m", "sapiens2_jax.report", f"--workdir={path}"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert ("no checkpoint" if made else "no such directory") in done.stderr
