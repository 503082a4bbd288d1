"""The schema itself, and what experiment files get wrong about it."""

import os
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_pipelines.common.errors import exit_code
from sapiens2_jax import config as config_lib
from sapiens2_jax import fields, validation
from sapiens2_jax.tasks import registry
from tests import forking
from tests.tasks.task_configs import SIZES

TASKS = ("albedo", "matting", "normal", "pointmap", "pose", "segmentation")
KINDS = [
  ("pretrain", ""),
  ("probe", ""),
  ("curation", ""),
  *(("finetune", task) for task in TASKS),
]
PRETRAIN = validation.schema_of("pretrain")


def load(spec, *overrides, num_devices=1, kind=None):
  return config_lib.load_config(
    str(spec),
    list(overrides),
    lambda config: validation.validate(config, num_devices, kind),
  )


@pytest.mark.parametrize(("kind", "task"), KINDS)
def test_each_field_has_a_sentence_a_source_and_a_right_default(kind, task):
  schema = validation.schema_of(kind, task)
  for name, field in schema.items():
    assert field.text.endswith(".") and field.text[0] not in ". ", name
    assert field.source in ("paper", "reference", "DINOv3", "ours"), name
    assert not field.check(name, field.default), name
    # Whatever is a number, or several values, has a range.
    has_range = field.check is not fields.ANY
    assert has_range or type(field.default) in (str, bool), name
    for wild in (-1e9, 1e12):
      if type(field.default) in (int, float):
        assert field.check(name, type(field.default)(wild)), name


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", [*TASKS, "seg"])
def test_fine_tuning_is_valid_for_every_task_and_size(task, size):
  config = load(f"experiments/finetune.py:task={task},size={size}")
  name = {"seg": "segmentation"}.get(task, task)
  assert (config.task.name, config.model.size) == (name, size)
  expected = validation.schema_of("finetune", name)
  assert dict(fields.leaves(config)).keys() == expected.keys()


@pytest.mark.parametrize("size", ["full", "toy"])
@pytest.mark.parametrize("task", ["all", "seg", "retrieval", *TASKS[2:]])
def test_probes_are_valid_for_every_task_and_size(task, size):
  places = ("data.train=a", "data.test=b")
  spec = f"experiments/probe.py:task={task},size={size}"
  config = load(spec, *places, kind="probe")
  expected = validation.schema_of("probe")
  assert dict(fields.leaves(config)).keys() == expected.keys()


def test_values_that_depend_on_task_and_size_are_the_releases():
  def found(task, size):
    spec = f"experiments/finetune.py:task={task},size={size}"
    config = load(spec)
    names = ("peak_lr", "num_steps", "clip_norm", "layer_decay")
    optim = tuple(config.optim[name] for name in names)
    return optim, config.head.upsample_channels, config.model.dtype

  assert found("normal", "5b") == (
    (1e-4, 40_000, 4.0, 0.94),
    (1536, 768, 512, 256),
    "bfloat16",
  )
  assert found("pose", "1b") == (
    (5e-4, 20_000, 4.0, 0.9),
    (1536, 1024),
    "bfloat16",
  )
  assert found("pointmap", "0.8b") == (
    (5e-4, 20_000, 2.0, 0.85),
    (1536, 768, 512, 256),
    "float32",
  )


def write_experiment(folder, body, base="pretrain.py"):
  """An experiment file: another one, and lines that change its config."""
  path = folder / "mine.py"
  lines = "\n".join(f"  {line}" for line in body)
  path.write_text(
    "import pathlib\n"
    "from sapiens2_jax.config import load_module\n"
    f"base = load_module(pathlib.Path('experiments') / {base!r})\n"
    "def get_config(argument='size=toy'):\n"
    "  config = base.get_config(argument)\n"
    f"{lines}\n"
    "  return config\n"
  )
  return path


def problems_of(spec, *overrides):
  with pytest.raises(config_lib.ConfigError) as caught:
    load(spec, *overrides)
  return dict(caught.value.problems)


def test_an_unknown_field_of_a_file_is_a_problem(tmp_path):
  path = write_experiment(tmp_path, ["config.objective.w_koloe = 0.1"])
  wrong = "no such field; did you mean objective.w_koleo?"
  assert problems_of(path) == {"objective.w_koloe=0.1": wrong}


def test_all_mistakes_of_a_file_and_of_overrides_are_told_at_once(tmp_path):
  path = write_experiment(
    tmp_path,
    [
      "del config.watchdog",
      "del config.optim.b1",
      "config.logging = 3",
      "config.optim.peak_lr = 'fast'",
      "config.optim.num_steps = 2.5",
      "config.model.scan = 1",
      "config.zzz = {'a': {'b': 1}, 'c': {}}",
      "config.sede = 1",
    ],
  )
  found = problems_of(path, "model.sise=1b", "mesh.fsdp=3", "data.prefetch=0")
  assert found == {
    "model.sise=1b": "no such field; did you mean model.size?",
    "watchdog": "expected a group with the fields timeout, start_timeout",
    "optim.b1": "is missing; its default is 0.9",
    "logging": "expected a group with the fields every, profile_steps, "
    "wandb_project",
    "optim.peak_lr=fast": "expected float",
    "optim.num_steps=2.5": "expected int",
    "model.scan=1": "expected bool",
    "zzz.a.b=1": "no such field",
    "zzz.c={}": "no such field",
    "sede=1": "no such field; did you mean seed?",
    "data.prefetch=0": "must be at least 1",
    "mesh": "mesh (data=1, fsdp=3, sequence=1, tensor=1) does not multiply to "
    "1 devices.",
  }


def test_a_group_that_a_file_reads_in_vain_is_named_with_its_line(tmp_path):
  path = write_experiment(tmp_path, ["config.objectve.w_mae = 1.0"])
  (given,), (wrong,) = zip(*problems_of(path).items())
  assert given == "line 6"
  assert "config.objectve.w_mae = 1.0" in wrong and "'objectve'" in wrong


@pytest.mark.parametrize(
  ("code", "wrong"),
  [
    ("json.loads(3)", "json.loads(3): TypeError: the JSON object must be str"),
    ("undefined.x = 1", "undefined.x = 1: NameError: name 'undefined' is not"),
    ("int('x')", "int('x'): ValueError: invalid literal for int()"),
    ("1 / 0", "1 / 0: ZeroDivisionError: division by zero"),
    ("import nowhere", "import nowhere: ModuleNotFoundError: No module named"),
    ("open('/none')", "open('/none'): FileNotFoundError: [Errno 2] No such f"),
    ("raise SystemExit(0)", "raise SystemExit(0): SystemExit: 0"),
    ("def (", "def (: SyntaxError: invalid syntax"),
    ("assert json is None", "assert json is None: AssertionError:"),
  ],
)
def test_an_error_of_python_in_a_file_is_a_mistake_with_its_line(
  tmp_path, code, wrong
):
  path = write_experiment(tmp_path, ["import json", code])
  with pytest.raises(config_lib.ConfigError) as caught:
    load(path)
  ((place, said),) = caught.value.problems
  assert place == "line 7"
  assert said.startswith(wrong)
  assert exit_code(caught.value) == 2


def test_a_disk_that_fails_under_a_file_is_no_mistake(tmp_path):
  body = ["import errno", "raise OSError(errno.EIO, 'Input/output error')"]
  with pytest.raises(config_lib.ConfigError, match="Input/output") as caught:
    load(write_experiment(tmp_path, body))
  assert exit_code(caught.value) == 1


def test_lists_and_whole_numbers_of_a_file_become_what_they_stand_for(tmp_path):
  body = [
    "config.data.image_size = [128, 96]",
    "config.optim.peak_lr = 1",
    "config.probes.tasks = ['normal']",
  ]
  config = load(write_experiment(tmp_path, body), "probes.path=x")
  assert config.data.image_size == (128, 96)
  assert type(config.optim.peak_lr) is float
  assert config.probes.tasks == ("normal",)
  # An override is of the field's type, not of what the file set.
  config = load(write_experiment(tmp_path, body), "optim.peak_lr=2e-3")
  assert config.optim.peak_lr == 2e-3


def test_a_task_brings_fields_of_its_own(tmp_path):
  path = write_experiment(
    tmp_path, ["config.task.flip_test = True"], "finetune.py"
  )
  spec = f"{path}:task=normal,size=toy"
  assert list(problems_of(spec)) == ["task.flip_test=True"]
  assert load(f"{path}:task=pose,size=toy").task.flip_test is True
  override = "head.conv_channels=(0,)"
  assert list(problems_of(f"{path}:task=pose,size=toy", override)) == [override]


def test_fields_of_a_task_that_nobody_knows_are_left_to_it():
  found = problems_of(
    "experiments/finetune.py:task=pose,size=toy", "task.name=posse"
  )
  assert list(found) == ["task.name=posse"]
  assert not registry.config_fields("posse")


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("seed=-1", "must be at least 0"),
    ("version=0", "must be 1"),
    ("mesh.fsdp=0", "must be -1 or at least 1"),
    ("augment.hue=1.5", r"must be in \[0, 1\]"),
    ("data.image_size=(64.5, 48.0)", "must be height and width in pixels"),
    ("data.image_size=(64, True)", "must hold numbers or texts"),
    ("data.image_size=((64, 48), (32, 24))", "must be flat"),
    ("data.image_size=(64, 48", "expected tuple"),
    ("data.image_size=(128.0, 96.0)", ""),
    ("optim.num_steps=300.0", ""),
    ("optim.num_steps=300.5", "expected int"),
    ("optim.num_steps=3000000000", "must be at most 2147483647"),
    ("optim.peak_lr=1e400", "must be finite"),
    ("optim.eps=1e-320", "must be at least 1e-30"),
    ("optim.peak_lr=" + "(" * 300, "expected float"),
    ("optim.peak_lr=" + "-" * 20_000 + "1", "expected float"),
    ("optim.final_lr=1.0", "must be at most optim.peak_lr=0.002"),
    ("optim.weight_decay=1000.0", "a step turns the sign of all weights"),
    ("seed=4294967296", "must be at most 4294967295"),
    ("data.path=a\nb", "without control characters"),
    ("distributed.start_timeout=0.2", "must be at least 1"),
    ("distributed.coordinator_address=host:70000", "must be HOST:PORT"),
    ("masking.mode=grid", ""),
    ("objective.teacher_momentum=1.0", "must be at least 0 and below 1"),
    ("probes.tasks=('normal', 'normal')", "must be different names"),
    ("data.image_size=(0, 48)", "must be height and width in pixels"),
    ("augment.blur_sigma=('a', 1.0)", "must be 0 < low <= high"),
    ("data.path=", ""),
    ("optim.warmup_steps=220", "must be below optim.num_steps=220"),
    ("optim.warmup_steps=219", ""),
    ("probes.tasks=('normal', 'norml')", "did you mean normal"),
    ("logging.profile_steps=(20, 25)", ""),
    ("logging.profile_steps=(25, 20)", "with 1 <= first < last"),
    ("logging.profile_steps=(0, 5)", "with 1 <= first < last"),
    ("logging.profile_steps=(5,)", "must be empty, or two numbers of steps"),
    ("logging.profile_steps=('a', 5)", "must be empty, or two numbers"),
    ("logging.profile_steps=20", "expected tuple"),
    ("logging.profile_steps=(215, 220)", ""),
    ("logging.profile_steps=(215, 221)", "within the run, optim.num_steps=220"),
  ],
)
def test_ranges_hold_for_overrides(override, message):
  spec = "experiments/pretrain.py:size=toy"
  if not message:
    load(spec, override)
    return
  with pytest.raises(config_lib.ConfigError, match=message) as caught:
    load(spec, override)
  assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    (("masking.mode=grid", "masking.block_size=8"), "covers all of"),
    (
      ("objective.w_gram=1.0", "objective.gram_start_step=220"),
      "must be below optim.num_steps=220",
    ),
    (
      ("distributed.num_processes=2", "distributed.process_id=2"),
      "expected 0 to num_processes - 1 = 1",
    ),
    (
      ("checkpoint.local_every=5", "checkpoint.local_directory=x"),
      "needs mesh.data of at least 2",
    ),
  ],
)
def test_fields_that_depend_on_one_another_must_fit(overrides, message):
  spec = "experiments/pretrain.py:size=toy"
  with pytest.raises(config_lib.ConfigError, match=message) as caught:
    load(spec, *overrides)
  assert len(caught.value.problems) == 1


@pytest.mark.parametrize(("kind", "task"), KINDS)
def test_no_rule_reads_a_field_that_is_wrong(kind, task):
  """A rule that does not say that it reads the field would raise."""
  for name in validation.schema_of(kind, task):
    config = validation.default_config(kind, task)
    fields.set_value(config, name, np.array([1, 2]))
    found = validation.validate(config, 1, kind)
    assert any(given.startswith(name) for given, _ in found)


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  path = write_experiment(tmp_path, ["config.model.init_from = '~/a'"])
  given = "data.path=~/a,1;coco:~/b~/c.json,images=~/d;/x/~/e,2"
  config = load(path, given)
  wanted = "/home/me/a,1;coco:/home/me/b~/c.json,images=/home/me/d;/x/~/e,2"
  assert (config.model.init_from, config.data.path) == ("/home/me/a", wanted)


@given(st.data())
def test_a_misspelt_field_is_always_a_problem(data):
  name = data.draw(st.sampled_from(sorted(PRETRAIN)))
  place = data.draw(st.integers(0, len(name) - 1))
  letters = data.draw(st.text("abcdefghij_", max_size=2))
  wrong = name[:place] + letters + name[place + 1 :]
  assume(wrong not in PRETRAIN and all(wrong.split(".")))
  config = fields.make_config(PRETRAIN)
  found = config_lib.apply_overrides(config, [f"{wrong}=1"])
  assert [given for given, _ in found] == [f"{wrong}=1"]
  # A file that sets it is told, too; unless it puts a value for a group.
  assume(wrong.count(".") < 2 and wrong.partition(".")[0] not in PRETRAIN)
  fields.set_value(config, wrong, 1)
  assert wrong.rpartition(".")[0] == "" or wrong in fields.check(
    config, PRETRAIN
  )


def test_other_defaults_are_for_known_fields():
  group = fields.group("a", "ours", b=fields.Field(1, "One."))
  changed = fields.with_defaults(group, "paper", b=2)
  assert (changed["a.b"].default, changed["a.b"].source) == (2, "paper")
  assert group["a.b"].default == 1
  with pytest.raises(ValueError, match="no such fields: c"):
    fields.with_defaults(group, "paper", c=2)


def test_the_trainer_lists_them_and_ends_with_code_2(tmp_path):
  """Without the group that says where the other processes are, too."""
  body = ["del config.distributed", "config.objective.w_koloe = 0.1"]
  path = write_experiment(tmp_path, body)
  done = forking.run(
    [
      *(sys.executable, "-m", "sapiens2_jax.train"),
      *("--config", str(path), "--workdir", str(tmp_path / "run")),
    ],
    os.environ,
  )
  assert done.returncode == 2
  assert f"config: 2 problems in {path}\n" in done.stderr
  assert "objective.w_koloe=0.1   no such field; did you mean" in done.stderr
  assert "Traceback" not in done.stderr
