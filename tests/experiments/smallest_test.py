"""Experiments of several commands, each command once at its smallest size."""

import itertools
import json
import pathlib
import shlex
import shutil
import sys

import pytest

from data_pipelines.faces import fetching
from data_pipelines.open_source import open_source
from sapiens2_jax.config import load_module
from sapiens2_jax.training import writers
from tests import old_runs, tiny, tiny_task
from tests.data import make_old_runs
from tests.data_pipelines.faces import made as faces
from tests.end_to_end import commands
from tests.evaluation import labelled

pytestmark = pytest.mark.slow
EXPERIMENTS = commands.ROOT / "experiments"
# `python -m` with the tiny sizes of the tests.
PROGRAM = (
  "import runpy, sys, tests.tiny, tests.old_runs; "
  "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
SHORT = ("optim.num_steps=2", "optim.warmup_steps=1")
TINY = ("model.size=tiny", *SHORT)


def run(arguments, *overrides: str) -> str:
  """What Python says with the arguments of a command and smaller fields."""
  if arguments[0] == "-m":
    arguments = ("-c", PROGRAM, *arguments[1:])
  smaller = [f"--config.{override}" for override in overrides]
  done = commands.run(
    [sys.executable, *arguments, *smaller], commands.environment()
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def write_people(folder, first: int) -> str:
  found = [labelled.make_record(n) for n in range(first, first + 6)]
  return tiny_task.write_corpus(folder, found)


def find(phases, title: str):
  return next(phase for phase in phases if phase.title.startswith(title))


def copy_run(workdir, others) -> None:
  """As if all of them had measured the same."""
  for other in others:
    if pathlib.Path(other) != pathlib.Path(workdir):
      shutil.copytree(workdir, other)


def dry_run(*arguments: str) -> list[list[str]]:
  """The trainings of a sweep, as arguments of Python."""
  said = run(("-m", "sapiens2_jax.sweep", "--dry_run", *arguments))
  words = [shlex.split(line) for line in said.splitlines()]
  assert all(line[:2] == ["sapiens2", "train"] for line in words)
  return [["-m", "sapiens2_jax.train", *line[2:]] for line in words]


def test_replication(tmp_path):
  replication = load_module(EXPERIMENTS / "replication.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "train", "test")):
    write_people(tmp_path / name, 6 * number)
  commands.write_images(tmp_path / "photographs")
  phases = replication.make_phases(output)
  name = f"{replication.PATCHES}, seed 0"  # It has all terms.
  train = find(phases, f"pretrain: {name}").arguments
  run(train, *tiny.SIZE, "model.scan=false", *TINY)
  probe = find(phases, f"probe: {name}")
  run(
    probe.arguments,
    *("data.image_size=(64, 48)", "decoder.hidden_dim=16"),
    *SHORT,
  )
  done = replication.results_path(output, replication.PATCHES, 0)
  for phase in phases:  # As if all probes had measured the same.
    if phase.title.startswith("probe: ") and phase.done != done:
      pathlib.Path(phase.done).parent.mkdir()
      shutil.copy(done, phase.done)
  table = replication.summarize(output)["replication.md"].decode()
  assert table.count("| toy, ") == len(replication.VARIANTS)
  assert table.count("| not learned | undecided |") == 10
  assert "nan" not in table


def test_toy_tasks(tmp_path):
  toy_tasks = load_module(EXPERIMENTS / "toy_tasks.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "test")):
    write_people(tmp_path / name, 6 * number)
  phases = toy_tasks.make_phases(output)
  for task in toy_tasks.TASKS:
    run(
      find(phases, f"train: {task}, seed 0").arguments,
      *(*TINY, "data.image_size=(64, 48)"),
      *("evaluation.every=2", "evaluation.num_images=3"),
    )
    workdir = toy_tasks.workdir_of(output, task, 0)
    copy_run(
      workdir, (toy_tasks.workdir_of(output, task, x) for x in toy_tasks.SEEDS)
    )
  report = find(phases, f"report: {task}, seed 0")
  run(report.arguments)
  assert (tmp_path / report.done).exists()
  contents = toy_tasks.summarize(output)
  assert contents["toy_tasks.md"].count(b"\n") == 2 + len(toy_tasks.TASKS)
  assert contents["toy_tasks.png"].startswith(b"\x89PNG")


def test_parts(tmp_path, monkeypatch):
  experiment = load_module(EXPERIMENTS / "parts.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "test")):
    write_people(tmp_path / name, 6 * number)
  phases = experiment.make_phases(output)
  old_runs.unpack("pretrain", tmp_path)
  said = run(
    find(phases, "train: pretrained, larger").arguments,
    *("model.size=smallest", "data.image_size=(64, 48)", *SHORT),
    *("evaluation.every=2", "evaluation.num_images=3"),
  )
  assert f"weights    from {tmp_path / 'pretrain'}, step 4, teacher" in said
  start, people = experiment.RUNS[1]
  workdir = experiment.workdir_of(output, start, people)
  runs = [(x, experiment.WHOLE) for x in (start, experiment.RANDOM)]
  monkeypatch.setattr(experiment, "RUNS", runs)
  copy_run(workdir, (experiment.workdir_of(output, *x) for x in runs))
  contents = experiment.summarize(output)
  table = contents["parts.md"].decode()
  assert table.count(f"| {experiment.WHOLE} |") == 2
  assert "| face neck | " in table and "nan" not in table
  for row in json.loads(contents["parts.json"]).values():
    for seen in experiment.PEOPLE:
      numbers = row[seen]["numbers"]
      assert 0 < numbers["mIoU_present"] and 0 < numbers["mIoU_joined"] <= 100
  assert contents["parts.png"].startswith(b"\x89PNG")


def test_distillation(tmp_path):
  experiment = load_module(EXPERIMENTS / "distillation.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "probes")):
    write_people(tmp_path / name, 6 * number)
  phases = experiment.make_phases(output)
  smaller = (*tiny.SIZE, *SHORT, "model.scan=false")
  teacher = find(phases, "the teacher")
  said = run(teacher.arguments, *smaller, "model.size=tiny_large")
  assert "step 2/2" in said
  students = find(phases, "students").arguments
  trainings = dry_run(*students[2:])
  variants = list(experiment.VARIANTS)
  assert len(trainings) == 3 * len(variants)
  taught = trainings[variants.index(experiment.BESIDE)]
  size = ("model.size=tiny", "objective.distill_size=tiny_large")
  said = run(taught, *smaller, *size)
  assert f"distill_teacher from {experiment.teacher_folder(output)}" in said
  workdir = pathlib.Path(taught[taught.index("--workdir") + 1])
  copy_run(workdir, (x[x.index("--workdir") + 1] for x in trainings))
  found = experiment.summarize(output)["distillation.md"].decode()
  assert found.count("| toy, ") == len(variants)
  assert found.count("| undecided ") == 2 * len(experiment.COLUMNS)
  assert "nan" not in found


def test_little_data(tmp_path):
  experiment = load_module(EXPERIMENTS / "little_data.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "test", "labelled-0")):
    write_people(tmp_path / name, 6 * number)
  phases = experiment.make_phases(output)
  old_runs.unpack("pretrain", tmp_path)
  said = run(
    find(phases, f"{experiment.LORA}, seed 0").arguments,
    *("model.size=smallest", "data.image_size=(64, 48)", *SHORT),
    *("head.upsample_channels=(4, 4)", "head.conv_channels=()"),
    "model.lora_rank=2",
    *("evaluation.every=2", "evaluation.num_images=3"),
  )
  assert f"weights    from {tmp_path / 'pretrain'}, step 4, teacher" in said
  assert "new      lora" in said
  workdir = experiment.workdir_of(output, experiment.LORA, 0)
  runs = itertools.product(experiment.VARIANTS, experiment.SEEDS)
  copy_run(workdir, (experiment.workdir_of(output, *x) for x in runs))
  table = experiment.summarize(output)["little_data.md"].decode()
  assert table.count("| undecided ") == len(experiment.VARIANTS) - 1
  assert "± 0.0" in table and "nan" not in table


def test_new_domain(tmp_path):
  experiment = load_module(EXPERIMENTS / "new_domain.py")
  output = str(tmp_path)
  found = [labelled.make_record(n) for n in range(14)]
  tiny_task.write_corpus(tmp_path / "people", found)
  phases = experiment.make_phases(output)
  run(find(phases, "part them").arguments)
  parts = [
    open_source(str(tmp_path / name))
    for name in ("lighter", "darker", "probes")
  ]
  assert [len(part) for part in parts] == [7, 5, 2]
  old_runs.unpack("pretrain", tmp_path)
  start = experiment.workdir_of(output, experiment.START, 0)
  shutil.move(tmp_path / "pretrain", start)
  darker = [x for x in make_old_runs.PRETRAIN if not x.startswith("data.path")]
  said = run(
    find(phases, f"{experiment.CONTINUED}, seed 0").arguments,
    *(*make_old_runs.SHARED, *darker, *SHORT, "optim.freeze_encoder_steps=1"),
    *("optim.moments_dtype=float32", "probes.every=2", "probes.num_images=2"),
  )
  assert "new      decoder" in said and "probe 0  " in said
  workdir = experiment.workdir_of(output, experiment.CONTINUED, 0)
  variants = (experiment.CONTINUED, experiment.SCRATCH)
  runs = itertools.product(variants, experiment.SEEDS)
  copy_run(workdir, (experiment.workdir_of(output, *x) for x in runs))
  table = experiment.summarize(output)["new_domain.md"].decode()
  assert table.count(" ± 0 ") == 3 * len(experiment.COLUMNS)


def test_real_faces(tmp_path, monkeypatch):
  experiment = load_module(EXPERIMENTS / "real_faces.py")
  monkeypatch.setenv("HOME", str(tmp_path))
  place = fetching.find_root() / "dlib-19.24"
  place.mkdir(parents=True)
  (place / fetching.LICENCE).write_text("No licence.")
  boxes = [(10, 5, 14), (40, 20, 16)]
  photographs = {"one.png": boxes, "two.png": boxes[1:]}
  faces.write_faces(place, fetching.TRAIN, photographs)
  faces.write_faces(place, fetching.TEST, {"three.png": boxes})
  output = str(tmp_path)
  for number, name in enumerate(("people", "test")):
    write_people(tmp_path / name, 6 * number)
  phases = experiment.make_phases(output)
  wrong = "probe", experiment._replication().POOL, "3000 images of synthetic"
  titles = [phase.title for phase in phases]
  assert not [t for t in titles if t.startswith(wrong[:2])]
  assert sum(t.startswith(wrong[2]) for t in titles) == 1  # Not the pool.
  assert "No licence.\n" in run(find(phases, "photographs of").arguments)
  run(
    find(phases, "train").arguments,
    *(*TINY, "data.image_size=(64, 48)", "evaluation.every=2"),
    *("head.upsample_channels=(4, 4)", "head.conv_channels=()"),
  )
  runs = experiment.list_runs(output)
  runs = experiment.list_runs(output)
  random, *others = (
    (variant, seed) for variant, seeds in runs.items() for seed in seeds
  )
  old_runs.unpack("pretrain", tmp_path)
  shutil.copytree(tmp_path / "pretrain", runs[random[0]][random[1]][0])
  for variant, seed in (random, (experiment.POSE, 0)):
    phase = find(phases, f"landmarks: {variant}, seed {seed}")
    experiment.measure_run(*phase.arguments[3:])
  done = experiment.results_path(output, *random)
  for variant, seed in others:  # As if all had measured the same.
    if variant != experiment.POSE:
      shutil.copy(done, experiment.results_path(output, variant, seed))
  found = experiment.summarize(output)["real_faces.md"].decode()
  assert found.count("| undecided ") == 2 * 6 and "nan" not in found
  assert "| its own keypoints, cut alike | 2 real |" in found


def go_on(folder, experiment: str, *overrides: str) -> str:
  """Two steps of a stage that starts from an old run of pretraining."""
  for name in ("corpora", "pretrain"):
    old_runs.unpack(name, folder)
  said = run(
    (
      *("-m", "sapiens2_jax.train", "--workdir", str(folder / "run")),
      *("--config", experiment),
    ),
    *(*make_old_runs.SHARED, *make_old_runs.PRETRAIN),
    *("optim.moments_dtype=float32", f"data.path={folder / 'photographs'}"),
    *(f"model.init_from={folder / 'pretrain'}", *SHORT, *overrides),
  )
  assert f"weights    from {folder / 'pretrain'}, step 4\n" in said
  assert "step 2/2" in said
  return said


def test_continue(tmp_path):
  said = go_on(
    tmp_path,
    "continue:size=toy,start=run",
    *(f"probes.path={write_people(tmp_path / 'people', 0)}", "probes.every=2"),
    *("probes.tasks=('normal',)", "probes.num_images=6"),
  )
  assert "new      nothing" in said
  # Before and after.
  rows = writers.read_metrics(str(tmp_path / "run"))
  found = [row["step"] for row in rows if "probe_normal_deg" in row]
  assert found == [-1, 1] and "probe 0  " in said


def test_high_resolution(tmp_path):
  said = go_on(
    tmp_path,
    "high_resolution:size=toy_4k",
    "model.size=smallest_4k",
    *("data.image_size=(256, 192)", "data.local_size=(192, 64)"),
  )
  new = {
    line.split()[1]: line.split()[-1]
    for line in said.splitlines()
    if line.strip().startswith("new ")
  }
  assert new["encoder"] == "window_stage" and new["decoder"] == "predict"
  assert set(new) == {"encoder", "decoder", "teacher", "optimizer"}


def test_a_point_of_the_sweep_of_learning_rates(tmp_path):
  trainings = dry_run(
    *("--config", "sweeps/learning_rate"),
    *("--output", str(tmp_path / "runs")),
    f"--config.data.path={commands.write_images(tmp_path / 'images')}",
  )
  assert len(trainings) == 8
  # Its views are 128 x 96: a half of the patches is as many as a local view.
  views = ("data.image_size", "data.local_size")
  small = [field for field in tiny.SIZE if not field.startswith(views)]
  said = run(trainings[-1], *small, *TINY)
  assert "step 2/2" in said


def test_curriculum(tmp_path):
  experiment = load_module(EXPERIMENTS / "curriculum.py")
  output = str(tmp_path)
  for number, name in enumerate(("people", "probes")):
    write_people(tmp_path / name, 6 * number)
  phases = experiment.make_phases(output)
  whole, curriculum = (
    experiment.count_costs()[x]["useful_tflop"]
    for x in (experiment.WHOLE, experiment.CURRICULUM)
  )
  assert 0.99 * whole < curriculum <= whole
  said = run(
    find(phases, f"{experiment.CURRICULUM}, seed 0").arguments,
    *(*tiny.SIZE, *TINY, "model.scan=false", "data.stages=32x32,16x16,0.5"),
  )
  assert "steps 1 to 1 at 32 x 32 pixels" in said and "probe 2  " in said
  workdir = experiment.workdir_of(output, experiment.CURRICULUM, 0)
  runs = itertools.product(experiment.get_variants(), experiment.SEEDS)
  copy_run(workdir, (experiment.workdir_of(output, *x) for x in runs))
  table = experiment.summarize(output)["curriculum.md"].decode()
  assert table.count(" ± 0 ") == 3 * len(experiment.COLUMNS)
  assert table.count("undecided") == 2 * len(experiment.COLUMNS)
