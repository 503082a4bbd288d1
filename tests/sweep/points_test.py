import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax.sweep import jobs, points
from tests.sweep import workdirs


def test_every_sweep_of_the_project_is_valid():
  path = "sweeps/learning_rate"
  found = points.make_points(path, "runs/lr", ["data.path=corpus"], 1)
  assert len({point.workdir for point in found}) == len(found) == 8
  assert found[0].train_flags() == [
    *("--config", "pretrain:size=toy", "--workdir"),
    "runs/lr/peak_lr=0.0005,mask_ratio=0.75,local_size=64x48",
    "--config.data.path=corpus",
    "--config.optim.peak_lr=0.0005",
    "--config.masking.mask_ratio=0.75",
    "--config.data.local_size=(64, 48)",
  ]


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("seed", 7),
    ("optim.peak_lr", 1e-7),
    ("optim.peak_lr", 1.0),
    ("model.scan", True),
    ("model.scan", False),
    ("data.path", "a b=c"),
    ("data.local_area", (0.25, 0.75)),
  ],
)
def test_values_reach_the_config_with_their_types(tmp_path, field, value):
  point = workdirs.make_points(tmp_path, repr([{field: value}]))[0]
  group, _, leaf = field.rpartition(".")
  parent = point.config[group] if group else point.config
  assert parent[leaf] == value
  assert type(parent[leaf]) is type(value)


def test_all_mistakes_of_all_points_are_told_once(tmp_path):
  body = """[
    {"optim.peak_lrs": 1.0},
    {"optim.peak_lr": "fast", "seed": 1},
    {"optim.peak_lr": 1e-3, "mesh.fsdp": 3},
    {"seed": 2}, {"seed": 2},
  ]"""
  with pytest.raises(config_lib.ConfigError) as caught:
    workdirs.make_points(tmp_path, body, "seed=3", "optim.b9=1")
  assert [given for given, _ in caught.value.problems] == [
    "optim.b9=1",
    "optim.peak_lrs=1.0",
    "seed=3",
    "optim.peak_lr=fast",
    "mesh",
  ]


def test_a_point_that_is_there_twice_is_named(tmp_path):
  with pytest.raises(config_lib.ConfigError, match="seed=2   is there twice"):
    workdirs.make_points(tmp_path, '[{"seed": 2}, {"seed": 2}]')


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("def get_sweep(): return [{}]", "has no BASE"),
    ("BASE = 'x'", r"has no get_sweep\(\)"),
    ("BASE = 'x'\ndef get_sweep(): return []", "gives no points"),
    ("BASE = 'x.py'\ndef get_sweep(): return [{}]", "no such file"),
  ],
)
def test_a_file_that_is_no_sweep_is_named(tmp_path, text, message):
  path = tmp_path / "s.py"
  path.write_text(text)
  with pytest.raises(config_lib.ConfigError, match=message):
    points.make_points(str(path), "runs", [], 1)


def test_names_are_folders_and_depend_on_the_point_alone():
  values = {"data.path": "gs://a/*.tar", "optim.peak_lr": 1e-4, "seed": 0}
  assert points.point_name(values) == "path=gs---a--.tar,peak_lr=0.0001,seed=0"
  assert points.point_name({"data.local_size": (64, 48)}) == "local_size=64x48"
  assert points.point_name({}) == "base"


def test_fields_that_others_determine_are_left_out():
  found = points.varying_fields(
    [
      {"a": 1, "same": 0, "ratio": 0.5, "size": (2, 2)},
      {"a": 2, "same": 0, "ratio": 0.5, "size": (2, 2)},
      {"a": 1, "same": 0, "ratio": 0.7, "size": (3, 2)},
    ]
  )
  assert found == ["a", "ratio"]
  assert points.varying_fields([{"a": 1}, {}]) == ["a"]
  assert points.varying_fields([{"a": 1}]) == []


def test_a_workdir_of_another_configuration_is_refused(tmp_path):
  body = '[{"seed": 1}, {"seed": 2}]'
  old = workdirs.make_points(tmp_path, body, "optim.warmup_steps=2")
  workdirs.write_run(old[1], 3)
  points.check_workdirs(old)
  new = workdirs.make_points(tmp_path, body, "optim.warmup_steps=4")
  with pytest.raises(config_lib.ConfigError) as caught:
    points.check_workdirs(new)
  assert "seed=2" in str(caught.value)
  assert "optim.warmup_steps: 2 -> 4" in str(caught.value)
  assert "--output" in str(caught.value)


def test_job_names_are_short_and_plain():
  assert jobs.job_name("runs/LR_sweep/", 7) == "lr-sweep-007"
  assert jobs.job_name("gs://b/2 x", 12) == "sweep-2-x-012"
  assert jobs.job_name("/", 0) == "sweep-000"
  assert len(jobs.job_name("x" * 90, 1)) <= 34
