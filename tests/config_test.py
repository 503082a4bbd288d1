import re

import pytest
from ml_collections import ConfigDict

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.pretrain.crops import crop_config
from tests import tiny, tiny_task

PRETRAIN = "experiments/pretrain.py"
SIZES = ("toy", "0.1b", "0.4b", "0.8b", "1b", "5b")


def load(spec, *overrides, num_devices=1):
  return config_lib.load_config(
    spec,
    list(overrides),
    lambda config: validation.validate(config, num_devices),
  )


def problems_of(*overrides, spec=f"{PRETRAIN}:size=0.4b", num_devices=8):
  with pytest.raises(config_lib.ConfigError) as caught:
    load(spec, *overrides, num_devices=num_devices)
  return caught.value.problems


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_valid_on_64_devices(size):
  spec = f"{PRETRAIN}:size={size}"
  overrides = () if size != "toy" else ("data.global_batch_size=64",)
  assert load(spec, *overrides, num_devices=64).model.size == size


def test_defaults_are_the_papers():
  config = load(f"{PRETRAIN}:size=1b", num_devices=8)
  assert (config.objective.w_mae, config.objective.w_cl) == (1.0, 0.4)
  assert config.objective.w_koleo == 0.04
  assert config.masking.mask_ratio == 0.75
  assert tuple(config.data.image_size) == (1024, 768)
  assert config.optim.num_steps == 500_000
  assert (config.optim.b1, config.optim.b2) == (0.9, 0.95)


def test_overrides_keep_the_type_of_the_field():
  config = load(
    f"{PRETRAIN}:size=toy",
    "optim.peak_lr=1",
    "model.scan=true",
    "data.path=a=b",
    "data.global_area=(0.4, 0.9)",
  )
  assert config.optim.peak_lr == 1.0
  assert config.model.scan is True
  assert config.data.path == "a=b"
  assert config.data.global_area == (0.4, 0.9)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("model.embed_dims=3", "no such field"),
    ("optim.learning_rate=3", "no such field"),
    ("peak_lr=3", "did you mean optim.peak_lr"),
    ("optim.peek_lr=3", "did you mean optim.peak_lr"),
    ("optim.peak_lr", "write name=value"),
    ("optim.num_steps=2.5", "expected int"),
    ("optim.num_steps=many", "expected int"),
    ("model.scan=maybe", "expected true or false"),
    ("data.image_size=(64,)", "expected 2 values, found 1"),
    ("model.size=2b", "known: 0.1b"),
    ("model.remat=ful", "did you mean full"),
    ("objective.target=sinkhorn-knopp", "unknown objective.target"),
    ("data.image_size=(100, 96)", "multiples of 16"),
    ("masking.mask_ratio=0.5", "the student needs equal lengths"),
    ("masking.mask_ratio=1.0", "at least one must be"),
    ("masking.block_probability=1.5", r"must be in \[0, 1\]"),
    ("augment.blur_sigma=(2.0, 1.0)", "0 < low <= high"),
    ("data.global_area=(0.5, 1.5)", "up to 1"),
    ("objective.student_temp=0.0", "above 0"),
    ("optim.num_steps=0", "at least 1"),
    ("mesh.fsdp=3", "does not multiply to 8 devices"),
    ("mesh.tensor=-1", "at most one is -1"),
    ("data.global_batch_size=20", "not divided by data"),
    ("data.accumulation_steps=3", "not divided by accumulation_steps=3"),
    ("data.accumulation_steps=256", "koleo_group_size|microbatch of 8"),
    ("model.decoder_heads=12", "multiple of 4 a head"),
    ("checkpoint.every=-1", "at least 0"),
    ("checkpoint.mtbf_hours=0.0", "above 0"),
    ("checkpoint.local_every=10", "needs checkpoint.local_directory"),
    ("watchdog.timeout=1800.0", "must be above data.batch_timeout=1800.0"),
  ],
)
def test_each_mistake_is_explained(override, message):
  problems = problems_of(override)
  text = "\n".join(f"{given} {wrong}" for given, wrong in problems)
  assert re.search(message, text), text


def test_all_mistakes_are_reported_together():
  problems = problems_of(
    "model.sise=1b", "optim.peak_lr=fast", "mesh.fsdp=3", "optim.b1=2.0"
  )
  assert len(problems) == 4


def test_tensor_axis_must_divide_the_heads():
  problems = problems_of("mesh.tensor=8", "mesh.fsdp=1", "model.size=0.1b")
  assert ("mesh.tensor=8", "does not divide 12 heads") in problems


def test_config_survives_json():
  config = tiny.load_config()
  again = config_lib.from_json(config_lib.to_json(config))
  assert config_lib.to_json(again) == config_lib.to_json(config)
  assert config_lib.differences(config, again) == []
  assert again.data.image_size == (64, 48)


def test_differences_name_the_field_and_both_values():
  old = tiny.load_config()
  new = tiny.load_config("optim.peak_lr=0.5")
  assert config_lib.differences(old, new) == ["optim.peak_lr: 0.002 -> 0.5"]


def test_differences_show_what_is_empty_and_what_is_not_there():
  old = ConfigDict({"task": {"classes": "a"}})
  new = ConfigDict({"task": {"classes": "", "keypoints": ""}})
  assert config_lib.differences(old, new) == [
    'task.classes: a -> ""',
    'task.keypoints: not there -> ""',
  ]


FINETUNE = "experiments/finetune.py"


def finetune_problems(*overrides, num_devices=1):
  with pytest.raises(config_lib.ConfigError) as caught:
    tiny_task.load_config(*overrides, num_devices=num_devices)
  return "\n".join(f"{given} {wrong}" for given, wrong in caught.value.problems)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("task.name=alhpa", "unknown task.name 'alhpa'; did you mean alpha"),
    ("optim.layer_decay=1.5", r"must be in \[0, 1\]"),
    ("optim.layer_decay=0.0", "above 0"),
    ("optim.schedule=linaer", "did you mean linear"),
    ("data.image_size=(100, 96)", "multiples of 16"),
    ("evaluation.every=-1", "at least 0"),
    ("evaluation.every=5", "needs evaluation.path"),
    ("data.global_batch_size=9", "not divided by data"),
    ("data.augment=False", "task.name=alpha has no targets without augment"),
    ("mesh.fsdp=3", "does not multiply to 2 devices"),
    ("objective.w_cl=1.0", "no such field"),
    ("sharding.prototypes=tensor", "no such field"),
  ],
)
def test_each_mistake_of_a_task_is_explained(override, message):
  text = finetune_problems(override, num_devices=2)
  assert re.search(message, text), text


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("task=normals,size=toy", "unknown task 'normals'"),
    ("taks=normal", "did you mean task"),
    ("task=normal,size=2b", "unknown size '2b'"),
  ],
)
def test_a_wrong_argument_of_finetune_is_explained(argument, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    load(f"{FINETUNE}:{argument}")


def test_pretraining_has_the_papers_optimizer():
  optim = load(f"{PRETRAIN}:size=1b", num_devices=8).optim
  assert (optim.schedule, optim.layer_decay) == ("cosine", 1.0)
  assert optim.decay_tokens is False


def test_finetuning_has_the_references_optimizer():
  optim = validation.default_config("finetune").optim
  assert (optim.schedule, optim.final_lr) == ("linear", 0.0)
  assert (optim.b1, optim.b2, optim.eps) == (0.9, 0.999, 1e-8)
  assert optim.weight_decay == 0.1 and optim.decay_tokens is True


def test_finetuning_shares_the_groups_of_pretraining():
  for size in ("toy", "0.4b"):
    pretrain = load(f"{PRETRAIN}:size={size}", num_devices=8)
    finetune = load(f"{FINETUNE}:task=albedo,size={size}", num_devices=8)
    for group in ("mesh", "distributed", "watchdog", "logging"):
      assert finetune[group].to_dict() == pretrain[group].to_dict()
    own = {
      "model": {"init_head", "lora_rank"},
      "data": {"augment"},
      "optim": {"frozen_stages"},
    }
    for group in ("model", "data", "optim", "sharding", "checkpoint"):
      more = set(finetune[group]) - set(pretrain[group])
      assert more == own.get(group, set()), group


def test_crops_have_the_aspect_of_the_config():
  config = load(f"{PRETRAIN}:size=toy", "data.crop_aspect=(0.5, 2)")
  assert crop_config(config).aspect_jitter == (0.5, 2.0)
