"""Configs of older versions are completed, of newer ones refused."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapiens2_jax import config as config_lib
from sapiens2_jax import fields, validation
from sapiens2_jax.training import checkpoints
from sapiens2_jax.validation import schema
from tests.interop import runs

DATA = pathlib.Path(__file__).parents[1] / "data"
# Of the last version without `version`; only the learning rate is no default.
OLD = {
  "experiments/pretrain.py:size=toy": "old_pretrain_config.json",
  "experiments/finetune.py:task=segmentation,size=toy": (
    "old_finetune_config.json"
  ),
}


def load(spec, *overrides):
  return config_lib.load_config(
    spec, list(overrides), lambda config: validation.validate(config, 1)
  )


@pytest.mark.parametrize(("spec", "file"), OLD.items())
def test_a_config_before_versions_is_completed(spec, file, capsys):
  text = (DATA / file).read_text()
  assert "version" not in json.loads(text)
  found = validation.read_config(text, f"runs/{file}")
  expected = load(spec, "optim.peak_lr=0.003")
  assert config_lib.differences(found, expected) == []
  assert validation.validate(found, 1) == []
  newer = [
    f"added {name}={value!r}"
    for name, value in fields.leaves(expected)
    if name not in dict(fields.leaves(config_lib.from_json(text)))
    and name not in ("version", "data.max_skipped_fraction")
  ]
  start, *said = capsys.readouterr().err.strip().split(", added ")
  assert start == (
    f"runs/{file}: config of version 0: renamed data.max_skipped_share to "
    "data.max_skipped_fraction"
  )
  assert sorted(f"added {one}" for one in said) == sorted(newer)
  validation.read_config(text, f"runs/{file}")
  assert capsys.readouterr().err == ""  # It has been said.


def test_what_an_old_config_lacks_gets_its_default(capsys):
  old = json.loads((DATA / "old_finetune_config.json").read_text())
  del old["task"]["backgrounds"], old["watchdog"]
  found = validation.read_config(json.dumps(old), "runs/lacking")
  assert found.task.backgrounds == "" and found.watchdog.timeout == 2700.0
  said = capsys.readouterr().err
  assert "added watchdog.timeout=2700.0" in said
  assert "added task.backgrounds=''" in said


def test_a_config_of_this_version_is_read_in_silence(capsys):
  config = load("experiments/pretrain.py:size=toy")
  found = validation.read_config(config_lib.to_json(config), "run")
  assert config_lib.to_json(found) == config_lib.to_json(config)
  assert capsys.readouterr().err == ""


def test_a_config_of_a_newer_version_is_refused():
  text = json.dumps({"version": schema.VERSION + 1})
  with pytest.raises(ValueError, match="run: its config has version 2.*to 1"):
    validation.read_config(text, "run")


def test_fields_of_a_task_that_is_not_here_are_kept():
  old = json.loads((DATA / "old_finetune_config.json").read_text())
  old["task"] = {"name": "elsewhere", "strength": 3}
  found = validation.read_config(json.dumps(old), "run")
  assert found.task.to_dict() == {"name": "elsewhere", "strength": 3}


@given(st.data())
def test_any_fields_that_are_missing_come_back(data):
  kind, task = data.draw(
    st.sampled_from([("pretrain", ""), ("finetune", "pose")])
  )
  config = validation.default_config(kind, task)
  expected = validation.schema_of(kind, task)
  droppable = sorted(expected.keys() - {"task.name", *schema.BEFORE})
  dropped = data.draw(st.sets(st.sampled_from(droppable)))
  given = json.loads(config_lib.to_json(config))
  for name in dropped:
    parent, _, leaf = name.rpartition(".")
    del (given[parent] if parent else given)[leaf]
    if parent and not given[parent]:
      del given[parent]
  found = validation.read_config(json.dumps(given), "run")
  assert config_lib.to_json(found) == config_lib.to_json(config)


@pytest.mark.parametrize("version", [0, 1])
def test_the_names_of_each_version_are_told_apart(version):
  """A rename of a version up to that of the config is not done again."""
  config = validation.default_config("pretrain").to_dict()
  config["version"] = version
  config["data"]["max_skipped_share"] = 0.5
  del config["data"]["max_skipped_fraction"]
  found = validation.read_config(json.dumps(config), f"version {version}")
  assert found.data.max_skipped_fraction == (0.01 if version else 0.5)


def test_the_config_of_an_old_checkpoint_is_completed(tmp_path, capsys):
  config = runs.task_config("pose")
  with config.ignore_type():
    config.data.max_skipped_share = config.data.max_skipped_fraction
  del config.version, config.data.max_skipped_fraction, config.task.flip_test
  runs.write_checkpoint(tmp_path, config, {"scale": np.ones(2)}, {}, 3)
  _, found = checkpoints.load_run(str(tmp_path), validation.read_config)
  assert validation.validate(found, 1) == []
  assert found.task.flip_test is True
  assert f"{tmp_path}: config of version 0: renamed" in capsys.readouterr().err


def test_a_config_from_before_a_field_goes_on_as_it_did(capsys):
  config = validation.default_config("pretrain")
  given = json.loads(config_lib.to_json(config))
  assert given["objective"].pop("koleo_reduction") == "sum"
  found = validation.read_config(json.dumps(given), "averaged")
  assert config_lib.differences(found, config) == [
    "objective.koleo_reduction: mean -> sum"
  ]
  assert "koleo_reduction='mean'" in capsys.readouterr().err
