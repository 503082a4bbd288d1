import json

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import sapiens2_jax
from sapiens2_jax.architectures import custom_architecture
from sapiens2_jax.interop import exports, weights
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.interop.tensors import open_tensors
from sapiens2_jax.models.rope import bfloat16_periods
from tests.interop import runs, samples, task_samples
from tests.interop.task_samples import HEADS, IMAGE_SIZE


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return runs.write_task_run(tmp_path_factory.mktemp("run"), "pointmap")


def _import(source, output):
  found = weights.find_weights(source)
  weights.write_import(output, weights.read_weights(found), found)
  return output


def _export(source, output, kind):
  found = weights.find_weights(source)
  request = {"format": kind, "dtype": None}
  exports.write_export(output, found, weights.read_weights(found), request)
  return output


def _assert_loads(path, task="pointmap"):
  model, params = load_task(path)
  assert model.task.name == task
  assert model.task.image_size == IMAGE_SIZE
  assert dict(model.config.head) == HEADS[task].widths
  assert model.encoder.architecture == task_samples.ARCH
  jax.tree.map(np.testing.assert_array_equal, params, runs.task_params(task))
  for leaf in jax.tree.leaves(params):
    assert isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32
  return model


def test_a_run_its_exports_and_imports_give_the_same_model(tmp_path, workdir):
  model = _assert_loads(workdir)
  assert model.encoder.rope_dtype == "bfloat16"  # that of the run
  assert model.config.optim.num_steps > 0
  for kind in ("reference", "transformers"):
    directory = _export(workdir, tmp_path / kind, kind)
    model = _assert_loads(directory)
    assert model.encoder.rope_dtype == "bfloat16"  # as it notes
    model = _assert_loads(_import(directory, tmp_path / "imported"))
    assert model.encoder.rope_dtype == "bfloat16"
    model, _ = load_task(directory, rope_dtype="float32")
    assert model.encoder.rope_dtype == "float32"


def test_a_run_that_goes_on_is_read_at_the_step_that_is_named(tmp_path):
  """Else a page names one step, and its numbers are of another one."""
  run = runs.write_task_run(tmp_path / "run", "pointmap", step=3)
  found = weights.find_weights(run)
  config, params = runs.task_config("pointmap"), runs.task_params("pointmap")
  config.model.init_from = str(run)
  parts = open_parts(config)
  later = jax.tree.map(lambda x: x + 1, params)
  runs.write_checkpoint(run, config, later, {}, 4)
  assert found.step == 3 and weights.find_weights(run).step == 4
  _assert_loads(found)
  name, place = "params/encoder/norm/scale", jax.local_devices()[0]
  place = jax.sharding.SingleDeviceSharding(place)
  shape = params["encoder"]["norm"]["scale"].shape
  wanted = {name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place)}
  loaded = parts.load(wanted)[name]
  np.testing.assert_array_equal(loaded, params["encoder"]["norm"]["scale"])


# What import_weights noted when keys of transformers were called native.
EARLIER_MARKER = """{
  "kind": "sapiens2_jax weights",
  "architecture": {"name": "tiny", "embed_dim": 48, "num_layers": 2,
    "num_heads": 4, "num_full_first": 1, "num_full_last": 0, "patch_size": 16,
    "num_registers": 8},
  "image_size": [64, 48], "layer_scale_init": 0.0001,
  "head": {"task": "pointmap", "upsample_channels": [8, 12, 8, 6],
    "conv_channels": [8, 6], "scale_channels": [6], "scale_hidden": [8, 5],
    "scale_inputs": 24},
  "source": "exported", "fingerprint": "model.safetensors 1 2"
}
"""


def test_an_import_of_an_earlier_version_is_read(tmp_path):
  # One checkpoint of all, blocks stacked.
  imported = tmp_path / "imported"
  with ocp.PyTreeCheckpointer() as writer:
    params = runs.as_numpy(runs.task_params("pointmap"))
    writer.save(imported / "params", params)
  (imported / weights.IMPORT_MARKER).write_text(EARLIER_MARKER)
  _assert_loads(imported)
  exported = _export(imported, tmp_path / "exported", "transformers")
  _assert_loads(exported)


def test_an_import_exported_is_the_released_file(tmp_path):
  for task, dtype in (("albedo", "float32"), ("pose", "bfloat16")):
    named = task_samples.arrays(HEADS[task], dtype=samples.FLOATS[dtype])
    source = samples.write_shards(tmp_path / task, named)
    imported = _import(source, tmp_path / f"{task} imported")
    _export(imported, tmp_path / f"{task} out", "reference")
    file = tmp_path / f"{task} out" / f"sapiens2_tiny_{task}.safetensors"
    found = open_tensors(file)
    arrays = {key: x.load() for key, x in found.items()}
    del arrays["backbone.rope_embed.periods"]
    samples.assert_same_bytes(arrays, named)


def test_the_encoder_of_a_task_model_loads_alone(workdir):
  encoder, params = load_pretrained(workdir)
  assert encoder.rope_dtype == "bfloat16"
  jax.tree.map(
    np.testing.assert_array_equal,
    params,
    runs.task_params("pointmap")["encoder"],
  )


@pytest.mark.parametrize("task", HEADS)
def test_a_file_is_enough_to_predict(task, tmp_path):
  named = task_samples.arrays(HEADS[task])
  file = samples.write(tmp_path / "model.safetensors", named)
  (tmp_path / "config.json").write_text(json.dumps({"image_size": IMAGE_SIZE}))
  model, params = sapiens2_jax.load_task(file)
  image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
  prepared = model.task.preprocess(image, None)
  batch = np.stack([one.image for one in prepared])
  outputs = jax.device_get(jax.jit(model.predict)(params, batch))
  listed = [{k: x[i] for k, x in outputs.items()} for i in range(len(prepared))]
  prediction = model.task.postprocess(listed, prepared)
  drawn = model.task.draw(image, prediction)
  assert drawn.shape == image.shape and drawn.dtype == np.uint8


def test_a_task_model_of_another_width_predicts(tmp_path):
  arch = custom_architecture(64, 3, 2, 1, 1)
  named = task_samples.arrays(HEADS["normal"], arch=arch)
  file = samples.write(tmp_path / "model.safetensors", named)
  for place in (file, _import(file, tmp_path / "imported")):
    model, params = load_task(place)
    assert model.encoder.architecture == arch
    images = jnp.zeros((1, 32, 16, 3), jnp.uint8)
    (outputs,) = jax.tree.leaves(model.predict(params, images))
    assert outputs.shape == (1, 32, 16, 3)


def test_a_run_that_starts_from_weights_says_in_what_they_were_trained(
  tmp_path,
):
  named = task_samples.arrays(HEADS["normal"])
  periods = bfloat16_periods(task_samples.ARCH.head_dim)
  named["backbone.rope_embed.periods"] = periods
  file = samples.write(tmp_path / "model.safetensors", named)
  config = runs.task_config("normal")
  config.model.init_from = str(file)
  assert open_parts(config).origin == str(file)
  config.model.rope_dtype = "float32"
  note = " (of model.rope_dtype=bfloat16; here it is float32)"
  assert open_parts(config).origin == f"{file}{note}"
  model, _ = load_task(file)
  assert model.encoder.rope_dtype == "bfloat16"


def test_mistakes_are_named(tmp_path, workdir):
  encoder = samples.write(
    tmp_path / "e.safetensors", samples.arrays(samples.TOY)
  )
  with pytest.raises(ValueError, match="holds an encoder without a head"):
    load_task(encoder)
  with pytest.raises(ValueError, match="only a pretraining workdir holds a"):
    load_pretrained(workdir, weights="student")
  named = task_samples.arrays(HEADS["pointmap"])
  file = samples.write(tmp_path / "p" / "model.safetensors", named)
  message = "made of 24 numbers; images of 1024 x 768 give 4608"
  with pytest.raises(ValueError, match=message):
    load_task(file)


def test_a_task_that_is_not_of_the_release_has_no_format(tmp_path, workdir):
  found = weights.find_weights(workdir)
  loaded = weights.read_weights(found)
  loaded.config.task.name = "alpha"
  other = weights.Weights(
    loaded.architecture, loaded.params, config=loaded.config
  )
  request = {"format": "reference", "dtype": None}
  with pytest.raises(ValueError, match="task alpha has no release format"):
    exports.write_export(str(tmp_path / "out"), found, other, request)
