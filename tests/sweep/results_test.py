import csv
import io
import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from sapiens2_jax.sweep import picture, ranking, results
from sapiens2_jax.training.best import Goal
from tests.report.pages import check_page
from tests.sweep import workdirs

BODY = """[
  {"optim.peak_lr": lr, "masking.mask_ratio": ratio, "data.local_size": size}
  for ratio, size in ((0.75, (64, 48)), (0.5, (96, 64)))
  for lr in (1e-3, 1e-2)
]"""
STATES = ["done", "stopped", "failed", "waiting"]


@pytest.fixture
def sweep(tmp_path):
  points = workdirs.make_points(
    tmp_path, BODY, "optim.num_steps=20", "optim.warmup_steps=2"
  )
  for point, count in zip(points, (20, 7, 3, 0)):
    workdirs.write_run(point, count, saved=count == 20)
  return points


def ranked(points, states):
  names = [point.name for point in points]
  return ranking.rank(points, states, names, Goal("loss", -1))


def make_csv(points, states):
  return results.format_csv(points, states, ranked(points, states))


def read_csv(text: str) -> list[dict[str, str]]:
  return list(csv.DictReader(io.StringIO(text)))


def test_final_is_the_mean_of_the_last_tenth_and_best_the_lowest():
  rows = [
    {"step": i, "loss": float(v)} for i, v in enumerate([9] * 18 + [1, 3])
  ]
  assert ranking.final_value(rows, "loss") == 2.0
  assert results.best_value(rows, "loss") == 1.0
  assert ranking.final_value(rows[:3], "loss") == 9.0
  assert ranking.final_value([{"step": 0, "loss": None}], "loss") is None
  assert results.best_value([], "loss") is None


def test_a_row_of_the_csv_file_is_a_point(sweep):
  rows = read_csv(make_csv(sweep, STATES))
  assert [row["state"] for row in rows] == STATES
  assert [row["point"] for row in rows] == [point.name for point in sweep]
  assert [row["optim.peak_lr"] for row in rows] == ["0.001", "0.01"] * 2
  assert [row["data.local_size"] for row in rows][1:3] == ["64x48", "96x64"]
  assert [row["steps"] for row in rows] == ["20", "7", "3", "0"]
  expected = 1e-3 + (math.exp(-18) + math.exp(-19)) / 2
  assert float(rows[0]["final_loss"]) == pytest.approx(expected, rel=1e-5)
  assert float(rows[1]["best_loss"]) == pytest.approx(
    1e-2 + math.exp(-6), rel=1e-5
  )
  assert float(rows[0]["images_per_second"]) == 101.0


def test_what_is_unknown_is_empty_in_the_csv_file(sweep):
  rows = read_csv(make_csv(sweep, STATES))
  for name in ("final_loss", "best_loss", "images_per_second"):
    assert rows[3][name] == ""
  assert rows[0]["final_rank_me"] == ""


def test_metrics_that_nobody_knows_have_columns(sweep):
  path = pathlib.Path(sweep[1].workdir) / "metrics.jsonl"
  row = {"step": 7, "loss_foo": 2.5, "probe_bar": 0.25, "nonfinite_total": 3}
  with path.open("a") as file:
    file.write(json.dumps(row) + "\n")
  first, second, *_ = read_csv(make_csv(sweep, STATES))
  assert second["final_loss_foo"] == second["best_loss_foo"] == "2.5"
  assert second["final_probe_bar"] == "0.25"
  assert second["final_nonfinite_total"] == "3"
  assert "best_probe_bar" not in second
  assert first["final_loss_foo"] == first["final_probe_bar"] == ""
  assert list(first)[:2] == ["point", "state"]


def test_fields_that_a_point_leaves_alone_are_empty(tmp_path):
  points = workdirs.make_points(tmp_path, '[{"seed": 1}, {"model.scan": True}]')
  rows = read_csv(make_csv(points, ["waiting"] * 2))
  assert [row["seed"] for row in rows] == ["1", ""]
  assert [row["model.scan"] for row in rows] == ["", "True"]


def test_both_files_are_written_whole(sweep, tmp_path):
  paths = results.collect(sweep, STATES, ranked(sweep, STATES), str(tmp_path))
  assert [path.rpartition("/")[2] for path in paths] == [
    "sweep.csv",
    "sweep.png",
    "sweep.html",
  ]
  page = (tmp_path / "sweep.html").read_text()
  check_page(page)
  assert f"lower is better, {sweep[0].name} is best" in page
  assert "features collapse" in page and "<td>stopped</td>" in page
  assert len(read_csv((tmp_path / "sweep.csv").read_text())) == 4
  assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
  "body",
  [
    BODY,
    '[{"seed": i} for i in range(3)]',
    '[{"objective.target": t} for t in ("center", "sinkhorn")]',
    '[{"optim.peak_lr": 1e-3}]',
    '[{}, {"seed": 1}]',
    "[{}]",
  ],
)
def test_a_picture_is_drawn_for_any_kind_of_field(tmp_path, body):
  points = workdirs.make_points(
    tmp_path, body, "optim.num_steps=20", "optim.warmup_steps=2"
  )
  empty = picture.draw(points, ranked(points, ["waiting"] * len(points)))
  for point in points:
    workdirs.write_run(point, 20, saved=True)
  drawn = picture.draw(points, ranked(points, ["done"] * len(points)))
  for png in (empty, drawn):
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert image.shape[1] > 1000
    # White paper, with something on it.
    assert 0.002 < (image < 250).any(-1).mean() < 0.5
  assert drawn != empty


def test_the_field_with_most_numbers_is_the_x_axis(tmp_path):
  points = workdirs.make_points(
    tmp_path,
    '[{"objective.target": t, "optim.peak_lr": lr}'
    ' for t in ("center", "sinkhorn") for lr in (4e-3, 1e-3, 2e-3)]',
  )
  axis = picture.choose_axis(points, ["objective.target", "optim.peak_lr"])
  assert axis.field == "optim.peak_lr"
  assert axis.values == [1e-3, 2e-3, 4e-3]
  assert not axis.is_log
  low, middle, high = (np.array(axis.color(v)) for v in axis.values)
  assert not np.allclose(low, middle) and not np.allclose(middle, high)
  names = picture.choose_axis(points[::3], ["objective.target"])
  assert names.values == ["center", "sinkhorn"]
  assert [names.position(v) for v in names.values] == [0, 1]
