"""The whole report of a tiny run with random weights."""

import dataclasses
import json
import math
import os
import pathlib
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from sapiens2_jax import config as config_lib
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.pretrain.objective import build_pretrain
from sapiens2_jax.pretrain.report import contents, notes
from sapiens2_jax.report import page as page_lib
from sapiens2_jax.report.run import read_run
from sapiens2_jax.report.writing import write_report
from sapiens2_jax.training import optimizer
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config
from tests import forking, tiny
from tests.report import pages

ROOT = pathlib.Path(__file__).parents[3]
NUM_CURVES = 3 + 1 + 1 + 4  # losses, probes, statistics, speed
SECTIONS = (
  *("verdict", "reconstruction", "components", "neighbors", "losses", "probes"),
  *("statistics", "speed", "run", "export", "next", "photographs", "config"),
)


# One worker takes all of this file: one run is made for it.
pytestmark = pytest.mark.xdist_group("report")


def make_config(data_path):
  return config_lib.load_config(
    f"{ROOT}/experiments/pretrain.py:size=toy",
    [
      *(*tiny.SIZE, "model.size=tiny", "data.global_batch_size=8"),
      f"data.path={data_path}",
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
    {
      "step": step,
      "loss": 2.0,
      "loss_mae": 1.0 - step / 10,
      "rank_me": None,
      "loss_foo": 3.25 - step / 10,
      "probe_bar<b>": 4.0,
    }
    for step in (0, 5, 10)
  ]
  (root / "work" / "metrics.jsonl").write_text(
    "".join(json.dumps(row) + "\n" for row in rows)
  )
  return root / "work", state


@pytest.fixture
def workdir(saved):
  return saved[0]


def make_report(workdir, data_path=None):
  run = read_run(str(workdir), read_config)
  objective = build_pretrain(run.config)
  write_report(run, objective.report()(run, data_path, 32))
  return read_outputs(workdir)


def read_outputs(workdir):
  folder = workdir / "report"
  page = (folder / "index.html").read_text()
  return page, json.loads((folder / "summary.json").read_text()), folder


def check_page(page):
  for name in SECTIONS:
    assert f'<section id="{name}"' in page
  pages.check_page(page)
  assert "<i>tall" not in page and "& <b>" not in page


@pytest.mark.slow
def test_report_of_a_run_has_every_part(workdir, capsys):
  page, summary, folder = make_report(workdir)
  check_page(page)
  # Of two photographs: highlights and reconstruction of four tiles, features
  # of two, neighbours of five; and a curve of each metric.
  assert page.count("<img") == 2 * (4 + 4 + 2 + 5) + NUM_CURVES
  assert "broken.jpg" in page and "&lt;i&gt;tall.png" in page
  for name in ("overview", "reconstruction", "components", "neighbors"):
    assert Image.open(folder / f"{name}.png").mode == "RGB"
  assert not list(folder.glob("*.partial"))
  # Steps after the checkpoint are not part of the run that is shown.
  assert summary["metrics"]["loss_mae"] == {"first": 1.0, "last": 0.5}
  found = summary["reconstruction"]
  assert 0.9 < found["shown_patch_mean_loss"] < 1
  assert found["num_shown"] == 2 and found["shown_loss"] > 0.5
  assert summary["neighbors"]["num_crops"] == 8
  assert summary["neighbors"]["chance"] == pytest.approx(3 / 7)
  assert 1 <= summary["neighbors"]["rank_me"] <= 8
  assert sum(summary["components"]["explained_variance"]) <= 1 + 1e-9
  assert ">3 (" in page  # photographs, one of them broken
  out = capsys.readouterr().out
  assert "learning" in out and "features" in out
  assert "last step  loss 2.000, loss_mae 0.500 (patch means" in out


def test_report_without_photographs_says_what_is_missing(workdir, tmp_path):
  page, summary, _ = make_report(workdir, str(tmp_path / "gone"))
  check_page(page)
  assert "no such directory" in page and "with --data." in page
  assert page.count("<img") == NUM_CURVES
  assert summary["reconstruction"] is None
  assert summary["metrics"]["loss_mae"]["last"] == 0.5


@pytest.mark.parametrize(
  "step, expected", [(0, 0), (2, 0), (4, 0), (5, 0), (6, 1), (60, 19)]
)
def test_last_whole_pass_was_made_whole(workdir, step, expected):
  run = read_run(str(workdir), read_config)  # 8 images a step
  run = dataclasses.replace(run, step=step)
  assert contents.last_whole_pass(run, 24) == expected


def test_a_run_without_reconstruction_shows_the_rest(workdir):
  run = read_run(str(workdir), read_config)
  run.config.objective.w_mae = 0.0
  made = build_pretrain(run.config).report()(run, None, 32)
  names = [section.name for section in made.sections]
  assert names == ["components", "neighbors"]
  assert [len(group) for group in made.highlights.picture.groups] == [2, 2]
  assert "loss_mae" not in made.notes


def test_notes_of_terms_are_those_of_the_run(workdir):
  objective = build_pretrain(read_run(str(workdir), read_config).config)
  found = notes.make_notes(objective, [])
  assert found["loss_cl"].reference == math.log(32)
  assert found["teacher_entropy"].reference == math.log(32)
  assert found["rank_me"].reference == 8  # of a microbatch
  assert found["loss_mae"].reference is None
  numbers = {"training_crops_patch_mean_loss": 0.9}
  section = page_lib.Section("reconstruction", "", numbers=numbers)
  found = notes.make_notes(objective, [section])
  assert found["loss_mae"].reference == 0.9


def test_metrics_that_nobody_knows_are_shown(workdir, tmp_path):
  page, summary, folder = make_report(workdir, str(tmp_path / "gone"))
  assert summary["metrics"]["loss_foo"] == {"first": 3.25, "last": 2.75}
  assert summary["metrics"]["probe_bar<b>"] == {"first": 4.0, "last": 4.0}
  assert "bar<b>" not in page
  assert "Curve of loss_foo: 3.250 at step 1, 2.750 at step 6" in page
  for name in ("losses", "probes", "statistics", "speed"):
    assert Image.open(folder / f"curves_{name}.png").width > 1000


def test_learned_parameters_are_counted(saved):
  workdir, state = saved
  counted = sum(x.size for x in jax.tree.leaves(state.params))
  assert read_run(str(workdir), read_config).num_learned == counted


@pytest.mark.parametrize("made", [True, False])
def test_wrong_directory_is_one_line_and_code_2(tmp_path, made):
  path = tmp_path if made else tmp_path / "none"
  done = forking.run(
    [sys.executable, "-m", "sapiens2_jax.report", f"--checkpoint={path}"],
    os.environ,
  )
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert ("no checkpoint" if made else "no such directory") in done.stderr
