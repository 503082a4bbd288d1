"""What points are ranked by, and which are not."""

import json
import pathlib

import pytest

from sapiens2_jax.evaluation.goals import find_goal, require_goal
from sapiens2_jax.sweep import ranking, status
from sapiens2_jax.tasks import registry
from sapiens2_jax.training.best import Goal
from tests.sweep import workdirs

BODY = '[{"seed": i} for i in range(5)]'


@pytest.fixture(scope="module")
def points(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sweep")
  made = workdirs.make_points(folder, BODY, "probes.path=p")
  probes = {0: (50.0, 20.0), 1: (30.0, 25.0), 2: (None, None), 3: (60.0, 10.0)}
  for number, point in enumerate(made):
    workdirs.write_run(point, 10)
    with (pathlib.Path(point.workdir) / "metrics.jsonl").open("a") as file:
      for step, value in enumerate(probes.get(number, ()), 10):
        row = {"step": step, "probe_normal_deg": value, "probe_recall_1": 0.5}
        # The least loss is that of the point that nothing was measured of.
        row["loss"] = float(5 - number)
        file.write(json.dumps(row) + "\n")
      if number == 4:
        file.write(json.dumps({"step": 12, "loss": -9.0}) + "\n")
  return made


STATES = ["done", "done", "done", "stopped", "done"]


def rank(points, text):
  goal = ranking.read_metric(text, points)
  return ranking.rank(points, STATES, "abcde", goal)


def test_probes_rank_otherwise_than_the_loss(points):
  by_probe = rank(points, "probe_normal_deg")
  assert [place.number for place in by_probe.places] == [1, 2, None, None, None]
  assert [place.value for place in by_probe.places] == [20, 25, None, 10, None]
  by_loss = rank(points, "loss")
  assert [place.number for place in by_loss.places] == [4, 3, 2, None, 1]
  assert "features collapse" in by_loss.lines()[-1]
  assert not any("collapse" in line for line in by_probe.lines())


def test_what_is_not_ranked_says_why(points):
  lines = rank(points, "probe_normal_deg").lines()
  assert "ranked by probe_normal_deg" in lines[0] and "lower" in lines[0]
  assert [line.split() for line in lines[3:]] == [
    ["-", "c", "-", "not", "measured"],
    ["-", "d", "10", "stopped"],
    ["-", "e", "-", "not", "measured"],
  ]
  missing = rank(points, "loss_ma").lines()
  assert "no point has measured loss_ma; did you mean loss_mae?" in missing[-2]


def test_a_point_that_broke_at_the_end_is_not_first(points):
  path = pathlib.Path(points[1].workdir) / "metrics.jsonl"
  before = path.read_text()
  try:
    with path.open("a") as file:
      file.write('{"step": 12, "probe_normal_deg": null}\n')
    places = rank(points, "probe_normal_deg").places
  finally:
    path.write_text(before)
  assert places[0].number == 1
  assert places[1].why == "not finite at the end" and not places[1].number


def test_a_metric_that_cannot_be_is_refused_at_once(points):
  for text, said in (
    ("rank_me", 'say it: "rank_me max"'),
    ("probe_foo", "nothing says"),
    ("loss max", "the lower is better"),
    ("rank_me most", "max or min"),
  ):
    with pytest.raises(ValueError, match=said):
      ranking.read_metric(text, points)
  assert ranking.read_metric("rank_me max", points) == Goal("rank_me", 1)


def test_a_probe_needs_images(tmp_path):
  made = workdirs.make_points(tmp_path, '[{"seed": 1}]')
  with pytest.raises(ValueError, match="give --config.probes.path"):
    ranking.read_metric("probe_normal_deg", made)


# Other tests register tasks of their own.
OURS = [
  task
  for task in registry.definitions()
  if task.make.__module__.startswith("sapiens2_jax.")
]


@pytest.mark.parametrize("task", OURS, ids=lambda task: task.name)
def test_every_number_of_our_tasks_has_a_better_side(task):
  score = f"eval_{task.score.key}"
  sign = 1 if task.score.higher_is_better else -1
  assert find_goal(score, task.name) == Goal(score, sign)
  assert find_goal("eval_images", task.name) is None
  if task.probe and task.probe.online:
    assert find_goal(f"probe_{task.probe.online.key}", None)
  assert "*" in task.better


def test_directions_are_those_of_the_definitions():
  for name, task, sign in (
    ("eval_within_11.25", "normal", 1),
    ("eval_median", "normal", -1),
    ("eval_normal_within_5", "pointmap", 1),
    ("eval_psnr", "albedo", 1),
    ("eval_body_AP", "pose", 1),
    ("probe_recall_5", None, 1),
    ("loss_koleo", None, -1),
  ):
    assert require_goal(name, task).sign == sign
  assert find_goal("eval_median", None) is None
  assert find_goal("probe_chance_mrr", None) is None


def test_the_table_shows_the_loss_beside_a_row_of_a_probe(tmp_path):
  (point,) = workdirs.make_points(tmp_path, '[{"seed": 1}]')
  workdirs.write_run(point, 3)
  with (pathlib.Path(point.workdir) / "metrics.jsonl").open("a") as file:
    file.write('{"step": 2, "probe_normal_deg": 20.0}\n')
  found = status.read_status(point, status.RUNNING)
  assert found.step == 3 and found.loss == pytest.approx(0.137, abs=2e-3)
