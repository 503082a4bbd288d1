"""benchmarks/similarity.py, and the network of safety_vector.py."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from data_pipelines.curation.models import cache
from data_pipelines.curation.scorers import embedding, inference
from tests.benchmarks.running import run
from tests.data_pipelines.curation import made
from tests.data_pipelines.curation.scorers import embedding_test

pytestmark = pytest.mark.slow
COMMAND = "benchmarks/similarity.py", "--model"
# Of the safety score's network, and as the command gives them.
BLUE_FIRST = 104, 117, 123
MEAN, STD = (0.482353, 0.458824, 0.407843), (0.003922,) * 3


@pytest.fixture
def photographs(tmp_path):
  folder = tmp_path / "photographs"
  folder.mkdir()
  for seed in range(6):
    made.picture(seed, 640, 480).save(folder / f"{seed}.png")
  return folder


def test_no_pair_of_the_first_half_reaches_the_threshold(tmp_path, photographs):
  model = embedding_test.write_model(
    tmp_path / "means.onnx", (3, 24, 16), (2, 3)
  )
  found = run(*COMMAND, model, "--image-size", 24, 16, "--images", photographs)
  assert 0.5 < found["threshold"] <= 1
  assert found["pairs"] == 3 and len(found["edits"]) == 11
  for count, by_pdq, by_cosine, either in found["edits"].values():
    assert count == 3 and max(by_pdq, by_cosine) <= either <= 3
  # Means do not change in a mirror, and PDQ does.
  assert found["edits"]["mirrored"][1] == 0
  assert found["edits"]["half the size"][1] == 3


def test_the_network_of_the_safety_score_gives_its_features(tmp_path):
  try:
    (whole,) = cache.fetch_models(["open_nsfw"])
  except ValueError as error:
    pytest.skip(str(error))
  model = tmp_path / "safety.onnx"
  found = run("benchmarks/safety_vector.py", "--output", model)
  assert found == {"features": 1024}
  scorer = embedding.EmbeddingScorer(
    model=model, image_size=(224, 224), mean=MEAN, std=STD
  )
  scorer.load()
  image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
  (features,) = scorer.score([image], [{}])
  # The last layer makes of them what the whole network says.
  layers = {
    x.name: numpy_helper.to_array(x)
    for x in onnx.load(whole).graph.initializer
    if x.name.startswith("fc_nsfw/")
  }
  logits = features["vector"] @ layers["fc_nsfw/MatMul/ReadVariableOp:0"]
  logits += layers["fc_nsfw/BiasAdd/ReadVariableOp:0"]
  blue_first = np.float32(image[None, :, :, ::-1]) - np.float32(BLUE_FIRST)
  (scores,) = inference.open_model("open_nsfw")(blue_first)
  expected = np.exp(logits) / np.exp(logits).sum()
  np.testing.assert_allclose(scores[0], expected, atol=1e-4)
