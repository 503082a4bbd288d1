"""Our encoder and transformers' on the same exported weights."""

import ml_dtypes
import numpy as np
import pytest
from PIL import Image, ImageOps

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import exports, parity, tensors, verification, weights
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.models import pixels
from tests.interop import runs, samples

# Float32 summed in another order; measured 1e-5 on features of size 5.
TOLERANCE = 2e-5


def _random_arrays(arch):
  """As trained: small matrices, but norms, biases, LayerScale of order one."""
  rng, named = np.random.default_rng(0), {}
  for key, shape in samples.shapes(arch).items():
    x = rng.standard_normal(shape, np.float32)
    if key.endswith(("gamma.weight", "norm.weight", "ln1.weight")):
      x = 1 + 0.5 * np.tanh(x)
    elif key.endswith("ln2.weight"):
      x = 1 + 0.5 * np.tanh(x)
    elif key.endswith(".bias"):
      x = 0.1 * x
    else:
      x = 0.02 * x
    named[key] = x.astype(np.float32)
  return named


def _compare(arch, make_arrays, sizes, tmp_path):
  # Arrays of 0.1b must be gone when both models are in memory.
  file = samples.write(tmp_path / "weights.safetensors", make_arrays(arch))
  found = weights.find_weights(file)
  request = {"format": "transformers", "dtype": None}
  output = tmp_path / "export"
  exports.write_export(output, found, weights.read_weights(found), request)
  theirs, keys = parity.torch_forward(str(output))
  assert keys == {"missing": [], "unexpected": [], "mismatched": []}
  encoder, params = load_pretrained(output, rope_dtype="float32")
  assert encoder.architecture == arch
  ours = parity.jax_forward(encoder, params)
  rng = np.random.default_rng(1)
  for size in sizes:
    images = rng.standard_normal((1, *size, 3), np.float32)
    result = parity.compare(ours, theirs, images)
    print(result)
    for part in ("cls", "registers", "patches"):
      assert result[part + parity.DIFFERENCE] < TOLERANCE
    assert result["max_abs_output"] > 1


def test_grouped_heads_agree_with_transformers(tmp_path):
  arch = samples.TINY
  sizes = [(64, 48), (32, 80)]
  _compare(arch, samples.arrays, sizes, tmp_path)


@pytest.mark.slow
def test_exported_0_1b_agrees_with_transformers(tmp_path):
  arch = ARCHITECTURES["0.1b"]
  sizes = [(256, 192), (160, 224)]
  _compare(arch, _random_arrays, sizes, tmp_path)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return str(runs.write_run(tmp_path_factory.mktemp("run")))


def _export_run(workdir, output, **request):
  found = weights.find_weights(workdir, request.pop("weights", "teacher"))
  request = {"format": "transformers", "dtype": None, **request}
  exports.write_export(output, found, weights.read_weights(found), request)
  return str(output)


def test_features_of_photographs_agree_with_transformers(
  tmp_path, workdir, encode, smooth_photo
):
  """Inputs are made by PIL alone, as their processor makes them."""
  forward, _ = parity.torch_forward(_export_run(workdir, tmp_path / "export"))
  exif = Image.Exif()
  exif[0x0112] = 6
  paths, inputs = [], []
  for number, size in enumerate([(50, 90), (200, 130), (30, 40)]):
    paths.append(tmp_path / f"{number}.jpg")
    photo = encode(smooth_photo(*size, number), "JPEG", exif=exif)
    paths[-1].write_bytes(photo)
    image = ImageOps.exif_transpose(Image.open(paths[-1]))
    image = image.resize((48, 64), Image.Resampling.BILINEAR)
    values = np.asarray(image, np.float32) / 255
    inputs.append((values - pixels.IMAGENET_MEAN) / pixels.IMAGENET_STD)
  found = load_pretrained(workdir).features(paths)
  wanted = forward(np.stack(inputs).astype(np.float32))
  assert np.ptp(wanted["cls"], axis=0).max() > 0.5  # They differ.
  np.testing.assert_allclose(found.cls, wanted["cls"], atol=TOLERANCE)
  np.testing.assert_allclose(
    np.stack(found.patches), wanted["patches"], atol=TOLERANCE
  )


def test_a_rounded_student_passes_verification(tmp_path, workdir):
  output = _export_run(
    workdir, tmp_path / "export", weights="student", dtype="bfloat16"
  )
  found = tensors.open_tensors(output)["ln1.weight"].load()
  expected = -samples.arrays(samples.TOY)["ln1.weight"]
  np.testing.assert_array_equal(found, expected.astype(ml_dtypes.bfloat16))
  report = verification.verify(output, workdir, None)
  assert report["passed"], report
  assert report["weights"] == "student" and report["dtype"] == "bfloat16"
  assert [c["size"] for c in report["comparisons"]] == [
    [64, 48],
    [32, 48],
    [64, 16],
  ]


def test_other_weights_and_other_keys_do_not_pass(tmp_path, workdir):
  output = _export_run(workdir, tmp_path / "export")
  file = tmp_path / "export" / "model.safetensors"
  named = {k: x.load() for k, x in tensors.open_tensors(file).items()}
  named["ln1.weight"] = named["ln1.weight"] * np.float32(1.001)
  named["cls_token"][0, 0, 0] = np.nan
  named["extra"] = named.pop("storage_tokens")
  samples.write(file, named)
  report = verification.verify(output, workdir, None)
  assert not report["passed"] and np.isnan(report["max_abs_difference"])
  assert report["keys"]["missing"] == ["embeddings.register_tokens"]
  assert report["keys"]["unexpected"] == ["extra"]


def test_a_newer_checkpoint_must_be_exported_first(tmp_path):
  workdir = str(runs.write_run(tmp_path / "run"))
  output = _export_run(workdir, tmp_path / "export")
  runs.write_run(workdir, step=5)
  with pytest.raises(ValueError, match="newest step is 5, exported was 3"):
    verification.load_ours(verification.read_marker(output), workdir)
