"""Our models and ONNX Runtime on their exports."""

import hashlib
import json
import pathlib

import flax.linen as nn
import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.config import load_module
from sapiens2_jax.interop import (
  exports,
  onnx_export,
  onnx_graph,
  parity,
  tensors,
  verification,
  weights,
)
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.interop.onnx_rules import RULES
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.tasks import registry
from tests.interop import runs, samples, task_samples

# Float32 summed in another order; measured 1.4e-5 on outputs of up to 14.
TOLERANCE = verification.TASK_TOLERANCE
OUTPUTS = {
  "pose": {"heatmaps": (308, 16, 12)},
  "segmentation": {"logits": (29, 64, 48)},
  "normal": {"normal": (3, 64, 48)},
  "pointmap": {"pointmap": (3, 64, 48), "scale": ()},
  "albedo": {"albedo": (3, 64, 48)},
  "matting": {"matte": (4, 64, 48)},
}


def _export(source, output, **request):
  found = weights.find_weights(source)
  request = {"format": "onnx", "dtype": None, **request}
  exports.write_export(str(output), found, weights.read_weights(found), request)
  return str(output)


def _check(directory, ours, outputs):
  """Compares batches of one and three, in the files' own layout."""
  path = pathlib.Path(directory) / onnx_export.MODEL_NAME
  onnx.checker.check_model(path, full_check=True)
  marker = verification.read_marker(directory)
  assert marker["outputs"] == {
    name: ["batch", *shape] for name, shape in outputs.items()
  }
  assert marker["inputs"] == {"images": ["batch", 3, 64, 48]}
  theirs = onnx_export.forward(directory)
  rng = np.random.default_rng(0)
  for count in (1, 3):
    images = rng.standard_normal((count, 64, 48, 3), np.float32)
    result = parity.compare(ours, theirs, images)
    print(result)
    assert result["max_abs_output"] > 0.5
    for name in outputs:
      assert result[name + parity.DIFFERENCE] < TOLERANCE, name


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
  """Weights of grouped and plain heads, and their export."""
  root = tmp_path_factory.mktemp("encoder")
  named = samples.arrays(task_samples.ARCH)
  file = samples.write(root / "weights" / "model.safetensors", named)
  config = {"image_size": list(task_samples.IMAGE_SIZE)}
  (root / "weights" / "config.json").write_text(json.dumps(config))
  return str(file), _export(file, root / "export")


def test_features_agree_with_ours_at_any_batch(encoder):
  file, directory = encoder
  shapes = {"cls": (48,), "patches": (48, 4, 3), "registers": (8, 48)}
  ours = parity.jax_forward(*load_pretrained(file, rope_dtype="float32"))
  _check(directory, ours, shapes)


@pytest.mark.slow
@pytest.mark.parametrize("task", OUTPUTS)
def test_a_task_agrees_with_ours_at_any_batch(tmp_path, task):
  path = runs.write_task_run(tmp_path / "run", task)
  directory = _export(path, tmp_path / "export")
  model, params = load_task(path, rope_dtype="float32")
  ours = parity.jax_forward(model.encoder, params, model.head)
  _check(directory, ours, OUTPUTS[task])


@pytest.mark.slow
def test_a_task_of_another_package_needs_no_release(tmp_path, monkeypatch):
  package = pathlib.Path(__file__).parents[1] / "depth_package"
  monkeypatch.syspath_prepend(package)
  caches = (registry._installed, registry._imported)
  for cache in caches:
    cache.cache_clear()
  experiment = load_module(package / "experiment.py")
  config = experiment.get_config("size=toy")
  config.model.update(size="tiny", dtype="bfloat16")  # The graph is float32.
  params = nn.unbox(jax.jit(build_objective(config).init)(jax.random.key(0)))
  path = runs.write_checkpoint(tmp_path / "run", config, params, {}, 3)
  directory = _export(path, tmp_path / "export")
  float32 = {"rope_dtype": "float32", "dtype": "float32"}
  model, params = load_task(path, **float32)
  ours = parity.jax_forward(model.encoder, params, model.head)
  _check(directory, ours, {"log_depth": (1, 64, 48)})
  monkeypatch.undo()
  for cache in caches:
    cache.cache_clear()


@pytest.mark.slow
def test_the_local_stage_of_4k_agrees_with_ours_in_chunks():
  encoder = Encoder(ARCHITECTURES["tiny_4k"], window_chunk=5)
  variables = jax.jit(encoder.init)(jax.random.key(0), np.zeros((1, 16, 16, 3)))
  params = jax.tree.map(lambda x: np.asarray(2 * x), nn.unbox(variables))
  params = params["params"]

  def program(params, images):
    images = images.transpose(0, 2, 3, 1)
    return parity.outputs(encoder, None, params, images)

  model = onnx_graph.make_model(
    program,
    params,
    "images",
    (3, 64, 48),
    rules=RULES,
    store=lambda name, array: onnx.numpy_helper.from_array(array, name),
  )
  session = onnxruntime.InferenceSession(model.SerializeToString())
  ours, rng = parity.jax_forward(encoder, params), np.random.default_rng(0)
  for count in (1, 3):
    images = rng.standard_normal((count, 64, 48, 3), np.float32)
    given = {"images": images.transpose(0, 3, 1, 2)}
    for name, expected in ours(images).items():
      assert np.max(np.abs(expected)) > 0.5
      (found,) = session.run([name], given)
      np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_marker_tells_what_the_files_are(encoder):
  _, directory = encoder
  marker = verification.read_marker(directory)
  assert exports.find_damage(directory, marker["request"]) == []
  path = pathlib.Path(directory)
  assert sorted(marker["files"]) == sorted(marker["sha256"])
  for name, digest in marker["sha256"].items():
    data = (path / name).read_bytes()
    assert len(data) == marker["files"][name]
    assert hashlib.sha256(data).hexdigest() == digest
  model = onnx.load(path / onnx_export.MODEL_NAME, load_external_data=False)
  (opset,) = model.opset_import
  assert opset.version == marker["opset"] == 18
  assert marker["dtype"] == "float32"
  # Weights lie in the second file, which has nothing twice.
  size = 4 * task_samples.ARCH.num_params
  large = [
    tensor.external_data
    for tensor in model.graph.initializer
    if tensor.data_location == onnx.TensorProto.EXTERNAL
  ]
  places = [{entry.key: entry.value for entry in each} for each in large]
  assert sum(int(place["length"]) for place in places) < 1.1 * size
  assert all(int(place["offset"]) % 4096 == 0 for place in places)


def test_a_rounded_file_is_exported_as_it_is_and_other_weights_do_not_pass(
  tmp_path, encoder
):
  file, _ = encoder
  named = {k: x.load() for k, x in tensors.open_tensors(file).items()}
  rounded = {k: x.astype(samples.FLOATS["bfloat16"]) for k, x in named.items()}
  source = samples.write(tmp_path / "weights" / "model.safetensors", rounded)
  (source.parent / "config.json").write_text('{"image_size": [64, 48]}')
  output = _export(source, tmp_path / "export")
  report = verification.verify(output, str(source), None)
  assert report["passed"], report
  assert report["dtype"] == "float32"
  assert [c["images"] for c in report["comparisons"]] == [1, 2]
  assert not verification.verify(output, file, None)["passed"]


def test_what_cannot_be_loaded_is_said(tmp_path, encoder):
  file, directory = encoder
  with pytest.raises(ValueError, match="--dtype bfloat16: an ONNX export is"):
    onnx_export.check("bfloat16")
  broken = tmp_path / "broken"
  broken.mkdir()
  (broken / "model.onnx").write_bytes(b"no graph")
  with pytest.raises(ValueError, match="ONNX Runtime cannot load it"):
    onnx_export.forward(str(broken))
  with pytest.raises(ValueError, match="holds no weights; expected model.safe"):
    load_pretrained(directory)
