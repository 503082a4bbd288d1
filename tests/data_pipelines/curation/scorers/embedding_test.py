"""Vectors of ONNX files, made here: the mean of each channel."""

import pickle

import numpy as np
import pytest

from data_pipelines.curation.scorers.embedding import EmbeddingScorer
from tests.data_pipelines.curation import made

onnx = pytest.importorskip("onnx")
MEAN, STD = (0.5, 0.25, 0.0), (0.5, 1.0, 2.0)


def write_model(path, shape, axes, batch="batch"):
  kind = onnx.TensorProto.FLOAT
  nodes = [
    onnx.helper.make_node(
      "ReduceMax", ["images", "axes"], ["most"], keepdims=0
    ),
    onnx.helper.make_node(
      "ReduceMean", ["images", "axes"], ["mean"], keepdims=0
    ),
  ]
  graph = onnx.helper.make_graph(
    nodes,
    "means",
    [onnx.helper.make_tensor_value_info("images", kind, [batch, *shape])],
    [
      onnx.helper.make_tensor_value_info(name, kind, [batch, 3])
      for name in ("most", "mean")
    ],
    [onnx.numpy_helper.from_array(np.array(axes, np.int64), "axes")],
  )
  opset = [onnx.helper.make_opsetid("", 18)]
  onnx.save(onnx.helper.make_model(graph, opset_imports=opset), path)
  return path


def make(path, size=(24, 16), output="mean"):
  return EmbeddingScorer(
    model=path, image_size=size, mean=MEAN, std=STD, output=output
  )


@pytest.mark.parametrize(
  "shape, axes",
  [((3, 24, 16), (2, 3)), ((24, 16, 3), (1, 2)), ((3, "h", "w"), (2, 3))],
)
def test_a_model_sees_normalised_pixels_of_its_size(tmp_path, shape, axes):
  scorer = make(write_model(tmp_path / "model.onnx", shape, axes))
  scorer = pickle.loads(pickle.dumps(scorer))
  scorer.load()
  image = np.asarray(made.picture(3, 240, 160))
  tall = np.full((90, 30, 3), (255, 64, 0), np.uint8)
  first, second = scorer.score([image, tall], [{}, {}])
  # Shrunk by tenths by area: the mean stays, but for rounding.
  expected = (image.mean(axis=(0, 1)) / 255 - MEAN) / STD
  np.testing.assert_allclose(first["vector"], expected, atol=4e-3)
  np.testing.assert_allclose(
    second["vector"], [1, 64 / 255 - 0.25, 0], atol=1e-6
  )


def test_the_first_output_is_taken_if_none_is_named(tmp_path):
  path = write_model(tmp_path / "model.onnx", (3, 24, 16), (2, 3))
  scorer = make(path, output="")
  scorer.load()
  image = np.zeros((24, 16, 3), np.uint8)
  image[3, 5] = 255
  (found,) = scorer.score([image], [{}])
  assert found["vector"] == [1.0, 0.75, 0.5]


def test_fingerprints_are_of_content_and_settings(tmp_path):
  shape, axes = (3, "h", "w"), (2, 3)
  one = write_model(tmp_path / "a.onnx", shape, axes)
  same = write_model(tmp_path / "b.onnx", shape, axes)
  other = write_model(tmp_path / "c.onnx", shape, axes, batch=1)
  known = make(one).fingerprint()
  assert make(same).fingerprint() == known
  assert make(other).fingerprint() != known
  assert make(one, (16, 24)).fingerprint() != known
  assert make(one, output="most").fingerprint() != known


def test_files_that_do_not_fit_are_named(tmp_path):
  with pytest.raises(ValueError, match="embedding.model=.*none.onnx: no such"):
    make(tmp_path / "none.onnx")
  path = write_model(tmp_path / "model.onnx", (3, 24, 16), (2, 3))
  with pytest.raises(ValueError, match=r"\[.*3, 24, 16\], expected one image"):
    make(path, (16, 24)).load()
  with pytest.raises(ValueError, match="embedding.output=x: .* most, mean"):
    make(path, output="x").load()
  (tmp_path / "no.onnx").write_bytes(b"no model")
  with pytest.raises(ValueError, match="embedding.model=.*no.onnx: "):
    make(tmp_path / "no.onnx").load()
