"""Models of a user's classes and keypoints, out and in again."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import transformers

from sapiens2_jax import validation
from sapiens2_jax.interop import (
  convert,
  exports,
  identify,
  notes,
  parts,
  weights,
)
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.tasks import registry
from tests.interop import runs, samples, task_samples

# As a user writes them; the config has more.
SETS = {
  "segmentation": {"names": ["background", "skirt", "shoe_l", "shoe_r", "bag"]},
  "pose": {
    "names": ["nose", "paw_l", "paw_r"],
    "labels": "own",
    "sigmas": {"paw_l": 0.05, "paw_r": 0.06},
  },
}


def make_run(tmp_path, task, given):
  """A workdir of formula weights; its config has read a file."""
  file = tmp_path / "names.json"
  file.write_text(json.dumps(given))
  config = runs.task_config(task)
  field = registry.config_labels(task)
  config.task[field.removeprefix("task.")] = str(file)
  if "crop" in config.task:
    config.task.crop = "person"
  assert not validation.validate(config, 1)
  file.unlink()  # Nothing needs it any more.
  head = dataclasses.replace(
    task_samples.HEADS[task],
    labels=config.task[field.removeprefix("task.")],
  )
  named = samples.lazy(task_samples.arrays(head))
  found = identify.identify(named, "formula", {task: head.labels})
  params = jax.tree.map(
    np.asarray, convert.open_params(found, origin="formula")
  )
  runs.write_checkpoint(tmp_path / "run", config, params, {}, 3)
  return tmp_path / "run", config, params


def export(source, output, kind):
  found = weights.find_weights(source)
  request = {"format": kind, "dtype": None}
  exports.write_export(output, found, weights.read_weights(found), request)
  return output


@pytest.mark.parametrize("task", SETS)
def test_names_come_back_from_exports_and_imports(tmp_path, task):
  workdir, config, params = make_run(tmp_path, task, SETS[task])
  field = registry.config_labels(task)
  for kind in ("reference", "transformers"):
    exported = export(workdir, tmp_path / kind, kind)
    if kind == "transformers":  # Its own file is enough.
      (exported / exports.MARKER).unlink()
    found = weights.find_weights(exported)
    weights.write_import(tmp_path / "in", weights.read_weights(found), found)
    again = export(tmp_path / "in", tmp_path / f"{kind} again", kind)
    for place in (workdir, exported, tmp_path / "in", again):
      model, loaded = load_task(place)
      leaf = field.removeprefix("task.")
      assert model.config.task[leaf] == config.task[leaf]
      assert model.config.task.get("crop") == config.task.get("crop")
      jax.tree.map(np.testing.assert_array_equal, loaded, params)
      assert model.head.num_outputs == len(SETS[task]["names"])


@pytest.mark.parametrize("task", SETS)
def test_transformers_shows_the_names(tmp_path, task):
  workdir, _, _ = make_run(tmp_path, task, SETS[task])
  exported = export(workdir, tmp_path / "hf", "transformers")
  kind = registry.definition(task).release.transformers
  loader = getattr(transformers, kind.class_name)
  model, info = loader.from_pretrained(exported, output_loading_info=True)
  assert not info["missing_keys"] and not info["unexpected_keys"]
  names = SETS[task]["names"]
  assert model.config.id2label == dict(enumerate(names))
  sides = [names.index(x) for x in names if x.endswith(("_l", "_r"))]
  assert model.config.flip_pairs == [sides]


def test_labels_of_transformers_alone_are_read(tmp_path):
  workdir, _, params = make_run(tmp_path, *list(SETS.items())[0])
  exported = export(workdir, tmp_path / "hf", "transformers")
  (exported / exports.MARKER).unlink()
  file = exported / "config.json"
  config = json.loads(file.read_text())
  del config["sapiens2_jax_labels"]
  file.write_text(json.dumps(config))
  model, loaded = load_task(exported)
  assert model.task.classes.names == tuple(SETS["segmentation"]["names"])
  assert model.task.classes.pairs == ((2, 3),)
  config["id2label"] = {str(i): f"LABEL_{i}" for i in range(5)}
  file.write_text(json.dumps(config))
  with pytest.raises(ValueError, match="labels of segmentation: .*LABEL_0"):
    load_task(exported)


def test_a_crop_of_no_task_is_refused(tmp_path):
  workdir, *_ = make_run(tmp_path, "segmentation", SETS["segmentation"])
  exported = export(workdir, tmp_path / "hf", "transformers")
  assert (
    "| trained on | crops: `task.crop=person` |"
    in (exported / exports.CARD).read_text()
  )
  (exported / exports.MARKER).unlink()
  file = exported / "config.json"
  for wrong in ("half", 3):
    content = json.loads(file.read_text()) | {notes.CROP: wrong}
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"hf: task.crop={wrong!r}: "):
      load_task(exported)
  with pytest.raises(ValueError, match="normal has none"):
    notes.check_crop("person", "normal", "here")


def test_a_head_of_other_names_is_not_taken(tmp_path):
  workdir, config, _ = make_run(tmp_path, "segmentation", SETS["segmentation"])
  config.model.init_from = str(workdir)
  assert any("head" in name for name in parts.open_parts(config).arrays)
  names = ["background", "bag", "shoe_l", "shoe_r", "skirt"]
  config.task.classes = json.dumps({"names": names})
  assert not validation.validate(config, 1)
  taken = parts.open_parts(config).arrays
  assert not any(name.startswith("params/head") for name in taken)
  config.model.init_head = True
  with pytest.raises(ValueError, match="task.classes=.*bag.*, expected .*bag"):
    parts.open_parts(config)
