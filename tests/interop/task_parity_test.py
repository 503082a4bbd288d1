"""Our task models and transformers' on the same exported weights."""

import json
import shutil

import jax
import numpy as np
import pytest

from sapiens2_jax.interop import exports, parity, tensors, verification, weights
from sapiens2_jax.interop.head_keys import Head
from sapiens2_jax.interop.load import load_pretrained, load_task
from tests.interop import runs, samples, task_samples
from tests.interop.task_samples import HEADS

SIZES = [(64, 48), (32, 80), (96, 16)]


@pytest.fixture(scope="module", params=HEADS)
def workdir(request, tmp_path_factory):
  path = tmp_path_factory.mktemp(request.param)
  return request.param, str(runs.write_task_run(path, request.param))


def _export(source, output, kind, **more):
  found = weights.find_weights(source)
  request = {"format": kind, "dtype": None, **more}
  exports.write_export(output, found, weights.read_weights(found), request)
  return str(output)


def _compare(checkpoint, task, *directories):
  model, params = load_task(checkpoint, rope_dtype="float32")
  ours = parity.jax_forward(model.encoder, params, model.head)
  rng = np.random.default_rng(1)
  # The scale of pointmaps is of images of one size.
  sizes = SIZES[:1] * 3 if task == "pointmap" else SIZES
  inputs = [rng.standard_normal((1, *x, 3), np.float32) for x in sizes]
  # Compiling is what takes long: once for all directories.
  outputs = [ours(images) for images in inputs]
  for directory in directories:
    theirs, keys = parity.torch_forward(directory)
    assert keys == {"missing": [], "unexpected": [], "mismatched": []}
    for images, output in zip(inputs, outputs):
      result = parity.compare(lambda _, x=output: x, theirs, images)
      print(task, result)
      assert result["max_abs_output"] > 0.5
      for name, value in result.items():
        if name.endswith(parity.DIFFERENCE):
          assert value < verification.TASK_TOLERANCE, name


def test_exports_agree_with_transformers_in_both_key_styles(tmp_path, workdir):
  task, path = workdir
  reference = _export(path, tmp_path / "reference", "reference")
  name = "seg" if task == "segmentation" else task
  file = tmp_path / "reference" / f"sapiens2_tiny_{name}.safetensors"
  named = {k: x.load() for k, x in tensors.open_tensors(file).items()}
  expected = task_samples.arrays(HEADS[task])
  del named["backbone.rope_embed.periods"]
  samples.assert_same_bytes(named, expected)
  if task == "albedo":
    with pytest.raises(ValueError, match="no class for task albedo; use"):
      _export(path, tmp_path / "transformers", "transformers")
    assert not (tmp_path / "transformers").exists()
    return
  theirs = _export(path, tmp_path / "transformers", "transformers")
  # transformers reads reference keys, too.
  shutil.copy(f"{theirs}/config.json", reference)
  shutil.copy(file, f"{reference}/model.safetensors")
  _compare(path, task, theirs, reference)


def test_automodel_finds_the_encoder_of_a_task_model(tmp_path):
  import torch
  from transformers import AutoModel

  path = runs.write_task_run(tmp_path / "run", "pose")
  directory = _export(path, tmp_path / "export", "transformers")
  model, info = AutoModel.from_pretrained(
    directory, output_loading_info=True, local_files_only=True
  )
  assert not info["missing_keys"]
  encoder, params = load_pretrained(directory, rope_dtype="float32")
  images = np.random.default_rng(0).standard_normal((1, 32, 48, 3), np.float32)
  with torch.inference_mode():
    found = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
  cls = jax.jit(encoder.apply)({"params": params}, images).cls
  np.testing.assert_allclose(found.pooler_output, cls, atol=2e-5)


def test_more_layers_than_the_reference_are_read(tmp_path):
  head = Head("segmentation", (12, 10, 8, 6, 6), (8, 8, 8))
  file = samples.write(
    tmp_path / "deep" / "model.safetensors", task_samples.arrays(head)
  )
  directory = _export(file, tmp_path / "export", "transformers")
  _compare(file, "segmentation", directory)


def test_another_number_of_scale_layers_cannot_be_exported(tmp_path):
  head = Head("pointmap", *task_samples.SHUFFLE, (6, 4), (8,), scale_inputs=8)
  named = task_samples.arrays(head)
  file = samples.write(tmp_path / "model.safetensors", named)
  (tmp_path / "config.json").write_text(json.dumps({"image_size": [96, 64]}))
  with pytest.raises(ValueError, match="no scale with head.scale_hidden"):
    _export(file, tmp_path / "export", "transformers")


def test_a_rounded_task_passes_verification_and_another_does_not(tmp_path):
  path = str(runs.write_task_run(tmp_path / "run", "normal"))
  output = _export(path, tmp_path / "out", "transformers", dtype="bfloat16")
  report = verification.verify(output, path, None)
  assert report["passed"] and report["task"] == "normal", report
  sizes = [c["size"] for c in report["comparisons"]]
  assert sizes == [[64, 48], [32, 48], [64, 16]]
  file = tmp_path / "out" / "model.safetensors"
  named = {k: x.load() for k, x in tensors.open_tensors(file).items()}
  key = "decode_head.predictor.bias"
  named[key] = (named[key].astype(np.float32) + 0.01).astype(named[key].dtype)
  samples.write(file, named)
  assert not verification.verify(output, path, None)["passed"]
