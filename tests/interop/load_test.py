import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sapiens2_jax
from data_pipelines.common import files
from sapiens2_jax.interop import exports, weights
from sapiens2_jax.interop.load import load_pretrained
from tests.interop import runs, samples
from tests.interop.samples import TOY


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  return runs.write_run(path, "model.rope_dtype=bfloat16")


def _assert_teacher(params, sign=1.0):
  jax.tree.map(
    np.testing.assert_array_equal, params, runs.as_numpy(runs.toy_params(sign))
  )
  for leaf in jax.tree.leaves(params):
    assert isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32


def _import(source, output):
  found = weights.find_weights(source)
  weights.write_import(output, weights.read_weights(found), found)
  return output


def _export(source, output, kind, dtype=None):
  found = weights.find_weights(source)
  request = {"format": kind, "dtype": dtype}
  exports.write_export(output, found, weights.read_weights(found), request)
  return output


@pytest.mark.parametrize("style", ["reference", "transformers"])
def test_loads_a_file_a_directory_and_shards(style, tmp_path):
  named = samples.arrays(TOY, style)
  sources = (
    samples.write(tmp_path / "one" / "any name.safetensors", named),
    tmp_path / "one",
    samples.write_shards(tmp_path / "shards", named),
  )
  for source in sources:
    encoder, params = load_pretrained(source)
    assert encoder.architecture == TOY and encoder.rope_dtype == "float32"
    _assert_teacher(params)


def test_loads_an_import_and_exports(tmp_path, workdir):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  _assert_teacher(load_pretrained(_import(file, tmp_path / "imported"))[1])
  for kind in ("reference", "transformers"):
    output = _export(workdir, tmp_path / kind, kind)
    encoder, params = load_pretrained(output)
    assert encoder.architecture == TOY
    _assert_teacher(params)


def test_a_run_in_float32_stays_so_in_its_file_alone(tmp_path):
  """The file may be copied without the note beside it."""
  workdir = runs.write_run(tmp_path / "run")
  output = _export(workdir, tmp_path / "reference", "reference")
  (output / "export.json").unlink()
  assert load_pretrained(output)[0].rope_dtype == "float32"


@pytest.mark.parametrize(
  ("step", "rope_dtype"), [(3, "float32"), (None, "bfloat16")]
)
def test_exports_of_earlier_versions_are_computed_as_runs_are(
  tmp_path, step, rope_dtype
):
  """They note no `rope_dtype`, and all have the reference's buffer."""
  samples.write(tmp_path / "a.safetensors", samples.arrays(TOY, periods=True))
  note = {"kind": "sapiens2_jax export", "step": step, "files": {}}
  (tmp_path / "export.json").write_text(json.dumps(note))
  assert load_pretrained(tmp_path)[0].rope_dtype == rope_dtype


def test_loads_teacher_and_student_of_a_run(workdir):
  encoder, params = load_pretrained(workdir)
  assert encoder.architecture == TOY
  assert encoder.rope_dtype == "bfloat16"  # that of the run
  assert encoder.layer_scale_init == 0.5
  _assert_teacher(params)
  _assert_teacher(load_pretrained(workdir, weights="student")[1], -1.0)
  assert load_pretrained(workdir, rope_dtype="float32")[0].rope_dtype == (
    "float32"
  )


def test_a_bfloat16_file_loads_as_float32_and_imports_as_is(tmp_path):
  named = samples.arrays(TOY, dtype=jnp.bfloat16)
  file = samples.write(tmp_path / "toy.safetensors", named)
  _, params = load_pretrained(file)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
  np.testing.assert_array_equal(
    params["norm"]["scale"], named["ln1.weight"].astype(np.float32)
  )
  imported = _import(file, tmp_path / "imported")
  jax.tree.map(
    np.testing.assert_array_equal, load_pretrained(imported)[1], params
  )


def test_features_in_four_lines(tmp_path):
  path = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  images = jnp.zeros((2, 64, 48, 3))
  encoder, params = sapiens2_jax.load_pretrained(path)
  out = jax.jit(encoder.apply)({"params": params}, images)
  assert out.cls.shape == (2, 192) and out.registers.shape == (2, 8, 192)
  assert out.patches.shape == (2, 4, 3, 192)


def test_loaded_parameters_can_be_trained_on_more_devices(tmp_path):
  path = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  _, params = load_pretrained(path)
  mesh = jax.make_mesh((len(jax.devices()),), ("data",))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  jax.device_put(params, everywhere)


def test_mistakes_are_named(tmp_path, workdir):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  with pytest.raises(ValueError, match="only a pretraining workdir"):
    load_pretrained(file, weights="student")
  with pytest.raises(ValueError, match="did you mean teacher"):
    load_pretrained(workdir, weights="teachr")
  with pytest.raises(ValueError, match="no such file or directory"):
    load_pretrained(tmp_path / "none")
  (tmp_path / "run" / "checkpoints").mkdir(parents=True)
  with pytest.raises(ValueError, match="no checkpoint"):
    load_pretrained(tmp_path / "run")


def test_a_failing_import_leaves_nothing(tmp_path, monkeypatch):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  real = files.write_json

  def fail(path, value):
    real(path, value)
    raise OSError("disk is full")

  monkeypatch.setattr(files, "write_json", fail)
  with pytest.raises(OSError, match="disk is full"):
    _import(file, tmp_path / "imported")
  with pytest.raises(OSError, match="disk is full"):
    _export(file, tmp_path / "exported", "transformers")
  assert [p.name for p in tmp_path.iterdir()] == ["toy.safetensors"]


def test_importing_the_package_imports_nothing_heavy():
  code = (
    "import sys, sapiens2_jax; "
    "print([m for m in ('jax', 'flax', 'numpy', 'orbax') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"
  assert "load_pretrained" in dir(sapiens2_jax)
  with pytest.raises(AttributeError, match="no attribute 'load_pretraned'"):
    sapiens2_jax.load_pretraned  # noqa: B018
