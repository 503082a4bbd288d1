"""Probes of tiny backbones on labelled corpora, end to end."""

import os

import numpy as np
import pytest

from data_pipelines.open_source import open_field
from sapiens2_jax import tasks, validation
from sapiens2_jax.config import ConfigError
from sapiens2_jax.evaluation import encoding, probing
from sapiens2_jax.evaluation import features as features_lib
from sapiens2_jax.evaluation.probe import Probe, make_task, task_view
from sapiens2_jax.tasks import registry
from tests import tiny_task
from tests.evaluation import labelled


@pytest.fixture(scope="module")
def places(tmp_path_factory):
  root = tmp_path_factory.mktemp("labelled")
  numbers = {"train": range(6), "test": range(6, 9)}
  return {
    name: tiny_task.write_corpus(
      root / name, [labelled.make_record(n) for n in found]
    )
    for name, found in numbers.items()
  }


@pytest.fixture
def calls(monkeypatch):
  """Rows of features of each call of the encoder."""
  found, append = [], features_lib.Shard.append

  def counted(shard, rows):
    found.append(len(rows))
    append(shard, rows)

  monkeypatch.setattr(features_lib.Shard, "append", counted)
  return found


def load_config(places, argument, *overrides):
  given = [f"data.{name}={place}" for name, place in places.items()]
  return labelled.load_config(argument, *given, *overrides)


@pytest.mark.slow
def test_all_tasks_are_measured_and_a_second_run_encodes_nothing(
  places, calls, tmp_path
):
  config = load_config(places, "task=all")
  results = probing.run(config, labelled.make_backbone(0), tmp_path)
  # Letterboxed once for three tasks, squeezed for another; 9 + 4 people; two
  # crops of each test image.
  assert sum(calls) == 9 + 9 + 13 + 2 * 3
  table = probing.format_table(results)
  known = [
    registry.definition(name) for name in config.tasks if name != "retrieval"
  ]
  assert len(known) == 5
  assert "recall_1 (chance)" in table
  for task in known:
    assert task.score.title in table
    found = results[task.name]
    assert np.isfinite(found[task.score.key]), task.name
    assert (found["images"], found["skipped"]) == (3, 0)
  assert results["retrieval"]["chance_recall_1"] == pytest.approx(1 / 5)

  calls.clear()
  again = probing.run(config, labelled.make_backbone(0), tmp_path)
  assert not calls
  np.testing.assert_equal(again, results)


@pytest.mark.slow
def test_other_weights_sizes_and_data_are_other_features(
  places, calls, tmp_path
):
  config = load_config(places, "task=normal")
  first = probing.run(config, labelled.make_backbone(0), tmp_path)
  calls.clear()
  other = probing.run(config, labelled.make_backbone(1), tmp_path)
  assert sum(calls) == 9
  assert other["normal"]["mean"] != first["normal"]["mean"]
  calls.clear()
  larger = load_config(places, "task=normal", "data.image_size=(80, 64)")
  probing.run(larger, labelled.make_backbone(0), tmp_path)
  assert sum(calls) == 9
  assert len(os.listdir(tmp_path)) == 6


@pytest.mark.slow
def test_a_decoder_learns_from_features(places, tmp_path):
  argument = "task=normal", "optim.num_steps=60", "optim.peak_lr=0.01"
  trained = probing.run(
    load_config(places, *argument), labelled.make_backbone(0), tmp_path
  )
  config = load_config(places, "task=normal", "optim.peak_lr=0.0")
  untrained = probing.run(config, labelled.make_backbone(0), tmp_path)
  assert trained["normal"]["mean"] < 0.7 * untrained["normal"]["mean"]


@pytest.mark.parametrize("size", ["tiny", "toy", "0.4b", "5b"])
def test_hyperparameters_do_not_depend_on_the_backbone(
  size, tmp_path, monkeypatch
):
  config = labelled.load_config(
    "task=normal", "data.train=a", "data.test=b", "data.image_size=(32, 16)"
  )
  assert "model" not in config
  values = np.zeros((2, 2, 1, {"tiny": 48, "toy": 192}.get(size, 7)))
  found = features_lib.Features(values, None, {}, np.float32(0), np.float32(1))
  monkeypatch.setattr(features_lib, "load", lambda _: found)
  probe = Probe(config, make_task("normal", (32, 16), size), tmp_path)
  decoder = probe.decoder
  assert decoder.hidden_dim == 16 and decoder.size == (32, 16)
  assert (decoder.output_name, decoder.num_outputs) == ("normal", 3)


def test_three_tasks_see_the_same_inputs_and_targets_fit_them():
  record = labelled.make_record(1)
  inputs = {}
  for name in ("normal", "albedo", "pointmap", "segmentation", "pose"):
    task = make_task(name, labelled.SIZE, "tiny")
    view = task_view(task, 10**6)
    found = view.inputs(record)
    inputs[view.name, name] = [image.tobytes() for image in found]
    labels = tasks.examples.read_labels(record, task)
    targets = task.targets(labels, (record.height, record.width))
    assert len(targets) == len(found) == (2 if name == "pose" else 1)
    shapes = {key: shape for key, (shape, _) in task.element_spec().items()}
    del shapes["image"]
    assert {k: np.shape(v) for k, v in targets[0].items()} == shapes
  shared = [x for (view, _), x in inputs.items() if view == "letterbox"]
  assert len(shared) == 3 and shared[0] == shared[1] == shared[2]


def test_targets_of_pose_lie_on_the_keypoints_of_the_crop():
  record = labelled.make_record(0)
  task = make_task("pose", (128, 96), "tiny")
  labels = tasks.examples.read_labels(record, task)
  (target,) = task.targets(labels, (record.height, record.width))
  image = np.zeros((record.height, record.width, 3), np.uint8)
  (prepared,) = task.preprocess(image, labels)
  heatmaps = np.zeros((32, 24, 308), np.float32)
  points = np.rint(target["points"]).astype(int)
  heatmaps[points[:, 1], points[:, 0], np.arange(308)] = 1
  (person,) = task.postprocess([{"heatmaps": heatmaps}], [prepared])
  known = target["weights"] > 0
  error = person[known, :2] - labels.people[0].keypoints[known, :2]
  assert known.sum() > 300 and np.abs(error).max() < 2.5


def test_processes_that_share_no_disk_are_told_so(
  places, monkeypatch, tmp_path
):
  config = load_config(places, "task=normal")
  # What is told of the directory is the one thing that is True.
  monkeypatch.setattr(
    features_lib.gathering.Part,
    "gather",
    lambda _, value: [value, False] if value is True else [value],
  )
  with pytest.raises(
    ValueError, match=r"not all processes see .*features\.directory"
  ):
    probing.run(config, labelled.make_backbone(0), tmp_path)
  assert not os.listdir(tmp_path)
  with pytest.raises(ValueError, match="features.directory: gs://b/f is in a"):
    probing.run(config, labelled.make_backbone(0), "gs://b/f")


def test_a_command_without_a_config_is_told_of_the_others():
  given = ["distributed.num_processes=2", "distributed.process_id=1"]
  found = validation.distributed_config(given, "--data")
  assert (found.num_processes, found.process_id) == (2, 1)
  wrong = ["distributed.process_id=x", "distributed.num=2"]
  with pytest.raises(ConfigError, match="2 problems in --data"):
    validation.distributed_config(wrong, "--data")


def test_an_interrupted_computation_leaves_nothing(
  places, monkeypatch, tmp_path
):
  config = load_config(places, "task=normal")

  def fail(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(encoding, "spread", fail)
    probing.run(config, labelled.make_backbone(0), tmp_path)
  assert not os.listdir(tmp_path)


def test_features_on_disk_are_those_of_the_encoder(places, tmp_path):
  backbone = labelled.make_backbone(0)
  config = load_config(places, "task=normal")
  source = open_field("data.test", config.data.test)
  view = task_view(make_task("normal", labelled.SIZE, "tiny"), 10**6)
  path = features_lib.cached(tmp_path, backbone, source, "", view, "float16")
  found = features_lib.load(path)
  assert found.values.dtype == np.float16
  inputs = np.stack([view.inputs(source[n])[0] for n in range(3)])
  expected = encoding.encode(backbone.encoder, backbone.params, inputs)
  np.testing.assert_array_equal(
    np.asarray(found.values), expected["patches"].astype(np.float16)
  )
  cells = np.asarray(found.values, np.float64).reshape(-1, 48)
  np.testing.assert_allclose(found.mean, cells.mean(0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found.std, cells.std(0), rtol=1e-4)
  np.testing.assert_array_equal(found.first, [0, 1, 2, 3])


def flip_middle(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
  "name, damage",
  [
    ("features-0.npy", flip_middle),
    ("features-0.npy", truncate),
    ("index.npz", flip_middle),
    ("index.npz", os.unlink),
    ("checksums.json", os.unlink),
    ("checksums.json", truncate),
  ],
)
def test_damaged_features_are_made_anew(places, tmp_path, capsys, name, damage):
  backbone = labelled.make_backbone(0)
  source = open_field("data.test", str(places["test"]))
  view = task_view(make_task("normal", labelled.SIZE, "tiny"), 10**6)
  given = tmp_path, backbone, source, "", view, "float16"
  path = features_lib.cached(*given)
  whole = np.array(features_lib.load(path).values)
  assert features_lib.cached(*given) == path
  assert "made anew" not in capsys.readouterr().err
  damage(path / name)
  assert features_lib.cached(*given) == path
  said = capsys.readouterr().err
  assert "features made anew: " in said and str(path / name) in said
  np.testing.assert_array_equal(np.array(features_lib.load(path).values), whole)


def test_the_same_images_for_training_and_test_are_refused(places, tmp_path):
  same = {name: places["train"] for name in places}
  config = load_config(same, "task=normal")
  with pytest.raises(ValueError, match="hold the same images"):
    probing.run(config, labelled.make_backbone(0), tmp_path)


def test_images_without_labels_are_refused(places, tmp_path):
  bare = [tiny_task.make_record(n, is_labelled=False) for n in range(2)]
  given = places | {"test": tiny_task.write_corpus(tmp_path / "bare", bare)}
  config = load_config(given, "task=normal")
  with pytest.raises(ValueError, match="data.test=.* needs labels.*no labels"):
    probing.run(config, labelled.make_backbone(0), tmp_path / "features")


def test_features_beyond_float16_are_refused(places, tmp_path):
  backbone = labelled.make_backbone(0)
  backbone.params["norm"]["scale"] *= 1e6
  config = load_config(places, "task=normal")
  with pytest.raises(ValueError, match="do not fit into features.dtype"):
    probing.run(config, backbone, tmp_path)


def test_mistakes_of_the_config_are_named():
  with pytest.raises(ConfigError, match=r"data.train= .*must be a place") as e:
    labelled.load_config("task=normal", "optim.batch_size=0")
  assert "optim.batch_size=0" in str(e.value)
  with pytest.raises(ConfigError, match="unknown task 'norml'; did you mean"):
    labelled.load_config("task=norml")


def test_a_task_without_targets_cannot_be_probed():
  with pytest.raises(ValueError, match="'matting' cannot be probed"):
    make_task("matting", labelled.SIZE, "tiny")
