"""Exports in the hands of somebody who has transformers alone.

transformers has one image processor for these models. It needs torchvision, and
that of PyPI does not import beside a CPU build of torch: its tests are skipped.
"""

import importlib.util
import pathlib

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto import auto_factory

from sapiens2_jax.interop import exports, model_card, weights
from tests.interop import runs

HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
needs_torchvision = pytest.mark.skipif(
  not HAS_TORCHVISION, reason="transformers' image processor needs torchvision"
)
AUTO = {
  None: "AutoModel",
  "segmentation": "AutoModelForSemanticSegmentation",
  "pose": "AutoModelForPoseEstimation",
  "normal": "AutoModelForNormalEstimation",
  "pointmap": "AutoModelForPointmapEstimation",
  "matting": "AutoModelForImageMatting",
}
HEIGHT, WIDTH = 90, 150  # of the photograph


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
  """export(task) -> its directory, or that of an encoder for None."""
  made = {}

  def make(task):
    if task not in made:
      path = tmp_path_factory.mktemp(str(task))
      write = runs.write_task_run if task else runs.write_run
      write(path / "run", *([task] if task else []))
      found = weights.find_weights(str(path / "run"))
      loaded = weights.read_weights(found)
      request = exports.make_request(found, "transformers", None)
      exports.write_export(str(path / "hf"), found, loaded, request)
      made[task] = str(path / "hf"), loaded
    return made[task]

  return make


@pytest.fixture
def photograph(tmp_path, monkeypatch, smooth_photo):
  monkeypatch.chdir(tmp_path)
  smooth_photo(HEIGHT, WIDTH).save("photograph.jpg")
  return "photograph.jpg"


@pytest.mark.parametrize("task", AUTO)
def test_auto_classes_find_the_model_offline(export, task):
  model, info = getattr(transformers, AUTO[task]).from_pretrained(
    export(task)[0], output_loading_info=True
  )
  assert type(model).__name__ == model.config.architectures[0]
  assert not info["missing_keys"] and not info["unexpected_keys"]


def test_only_the_hub_has_backbones_for_autobackbone(export, monkeypatch):
  directory, _ = export(None)
  images = torch.zeros(1, 3, 64, 32)
  tokens = transformers.AutoModel.from_pretrained(directory)(images)
  expected = tokens.last_hidden_state[0, 9:].T.reshape(-1, 4, 2).detach()

  def check(loader):
    (found,) = loader.from_pretrained(directory).eval()(images).feature_maps
    np.testing.assert_allclose(found[0].detach(), expected, atol=1e-5)

  check(transformers.Sapiens2Backbone)
  # It asks the hub for the path's name. If this does not fail any more, take
  # the sentence out of docs/weights.md.
  with pytest.raises(Exception, match="Repo id must be in the form"):
    transformers.AutoBackbone.from_pretrained(directory)
  # With the same files in a repository of the hub:
  monkeypatch.setattr(auto_factory, "hf_api", lambda: _Hub())
  check(transformers.AutoBackbone)


class _Hub:
  def repo_exists(self, name):
    return True


def test_the_pipeline_of_features_runs_without_torchvision(export, photograph):
  directory, _ = export(None)
  processor = transformers.ViTImageProcessorPil.from_pretrained(directory)
  pipeline = transformers.pipeline(
    "image-feature-extraction", directory, image_processor=processor
  )
  model = transformers.AutoModel.from_pretrained(directory)
  image = transformers.image_utils.load_image(photograph)
  with torch.inference_mode():
    found = model(**processor(image, return_tensors="pt"))
  np.testing.assert_allclose(
    pipeline(photograph), found.last_hidden_state, atol=1e-6
  )


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is there")
def test_without_torchvision_the_processor_names_it(export):
  # If this does not fail any more, docs/weights.md and cards say too much.
  with pytest.raises((ImportError, ValueError), match="torchvision"):
    transformers.AutoImageProcessor.from_pretrained(export("normal")[0])


SHAPES = {
  None: ("tokens", (1, 21, 192)),
  "segmentation": ("parts", (HEIGHT, WIDTH)),
  "pose": ("keypoints", (308, 2)),
  "normal": ("normals", (3, HEIGHT, WIDTH)),
  "pointmap": ("points", (3, HEIGHT, WIDTH)),
  "matting": ("alpha", (1, HEIGHT, WIDTH)),
}


@needs_torchvision
@pytest.mark.parametrize("task", AUTO)
def test_the_card_leads_from_a_photograph_to_a_prediction(
  export, photograph, task
):
  directory, loaded = export(task)
  code = model_card.photograph_usage(loaded, directory)
  card = pathlib.Path(directory, "README.md").read_text()
  assert code.replace(directory, "path/to/this/directory") in card
  names = {}
  exec(code, names)
  name, shape = SHAPES[task]
  assert tuple(names[name].shape) == shape
  assert torch.isfinite(names[name].float()).all()


@needs_torchvision
def test_the_pipeline_of_features_gives_tokens(export, photograph):
  directory, _ = export(None)
  pipeline = transformers.pipeline("image-feature-extraction", directory)
  assert np.shape(pipeline(photograph)) == (1, 21, 192)


@needs_torchvision
def test_the_pipeline_of_body_parts_gives_masks(export, photograph):
  directory, loaded = export("segmentation")
  pipeline = transformers.pipeline("image-segmentation", directory)
  labels = loaded.head.kind.transformers.labels
  names = {}
  exec(model_card.photograph_usage(loaded, directory), names)
  for part in pipeline(photograph):
    expected = names["parts"] == labels.index(part["label"])
    np.testing.assert_array_equal(np.asarray(part["mask"]) > 0, expected)
