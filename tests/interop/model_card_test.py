"""The card that goes with an export."""

import json

import huggingface_hub
import pytest
import yaml

from sapiens2_jax.interop import exports, model_card, weights
from tests.interop import runs, samples
from tests.interop.samples import TOY


def _card(source, output, kind="transformers"):
  found = weights.find_weights(source)
  request = exports.make_request(found, kind, None)
  loaded = weights.read_weights(found)
  exports.write_export(str(output), found, loaded, request)
  return (output / "README.md").read_text()


def _front(card):
  _, front, _ = card.split("---\n", 2)
  return yaml.safe_load(front)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  runs.write_run(
    path,
    "data.path=/data/secret/corpus,3;gs://bucket/shards/*.tar,1",
    "probes.path=/home/me/labelled",
    "model.init_from=/c/models--org--sapiens2-x/snapshots/1/a.safetensors",
  )
  rows = [
    {"step": 0, "loss": 3.0, "probe_normal": 50.0},
    {"step": 1, "loss": 2.0, "probe_normal": 40.0, "probe_knn": 0.25},
    {"step": 2, "loss": 1.0, "probe_normal": None},
    {"step": 3, "loss": 1.0, "probe_normal": 7.0},  # after the checkpoint
  ]
  (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
  return path


def test_the_hub_reads_what_stands_in_front(tmp_path, workdir):
  front = _front(_card(workdir, tmp_path / "out"))
  assert front == {
    "library_name": "transformers",
    "pipeline_tag": "image-feature-extraction",
    "tags": ["sapiens2", "human-centric-vision"],
    "base_model": "org/sapiens2-x",
  }
  data = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md").data
  assert data.library_name == "transformers" and data.license is None


def test_the_licence_is_left_to_the_user(tmp_path, workdir):
  card = _card(workdir, tmp_path / "out")
  (line,) = (x for x in card.splitlines() if "license" in x)
  assert line.startswith("# license: ")


def test_a_run_says_what_it_learned_from_and_how_well(tmp_path, workdir):
  card = _card(workdir, tmp_path / "out")
  lines = card.splitlines()
  assert "| parameters | 2,447,424, float32 |" in lines
  assert "| weights | of the teacher |" in lines
  assert any(line.startswith("| step | 3 of ") for line in lines)
  assert "- trained on: `corpus,3;gs://bucket/shards/*.tar,1`" in lines
  assert "- probed on: `labelled`" in lines
  # The last before the checkpoint, with steps from 1.
  assert "| `probe_normal` | 40 | 2 |" in lines
  assert "| `probe_knn` | 0.25 | 2 |" in lines
  config = json.loads(card.split("```json\n")[1].split("```")[0])
  assert config["model"]["size"] == "toy"
  assert config["model"]["init_from"] == "a.safetensors"
  for secret in ("secret", "/home", str(workdir)):
    assert secret not in card


def test_a_task_has_its_tag_and_its_own_way_to_load(tmp_path):
  workdir = runs.write_task_run(tmp_path / "run", "pose")
  card = _card(workdir, tmp_path / "out")
  front = _front(card)
  assert front["pipeline_tag"] == "keypoint-detection"
  assert front["tags"][-1] == "pose" and "base_model" not in front
  assert "transformers.Sapiens2ForPoseEstimation.from_pretrained" in card
  assert 'sapiens2_jax.load_task("path/to/this/directory")' in card
  reference = _card(workdir, tmp_path / "reference", "reference")
  assert _front(reference)["library_name"] == "sapiens2_jax"
  assert "sapiens2_tiny_pose.safetensors" in reference


def test_weights_without_a_run_claim_nothing(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  card = _card(file, tmp_path / "out")
  assert "Converted with sapiens2_jax." in card
  assert "Not known: these weights are not those of a training run" in card
  assert "No evaluation and no probe" in card
  assert "## Config" not in card and "base_model" not in _front(card)


def test_an_import_remembers_the_repository(tmp_path):
  cache = tmp_path / "models--facebook--sapiens2-pretrain-0.4b" / "snapshots"
  file = samples.write(cache / "1" / "x.safetensors", samples.arrays(TOY))
  found = weights.find_weights(file)
  imported = tmp_path / "imported"
  weights.write_import(str(imported), weights.read_weights(found), found)
  for source, output in ((file, "a"), (imported, "b")):
    front = _front(_card(source, tmp_path / output))
    assert front["base_model"] == "facebook/sapiens2-pretrain-0.4b"


@pytest.mark.parametrize(
  ("value", "wanted"),
  [
    ("/a/b/c", "c"),
    ("/a/b/c/", "c/"),
    ("corpus", "corpus"),
    ("runs/p04", "runs/p04"),
    ("gs://bucket/a/b", "gs://bucket/a/b"),
    ("/a/b,3;/c/d/*.tar,1", "b,3;*.tar,1"),
    ("coco:/a/ann.json,images=/a/photos", "coco:ann.json,images=photos"),
    ({"x": ("/a/b", 3)}, {"x": ["b", 3]}),
  ],
)
def test_absolute_paths_lose_their_directories(value, wanted):
  assert model_card.without_directories(value) == wanted
