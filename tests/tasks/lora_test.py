"""Fine-tuning with LoRA: what is learned, saved and handed on."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax import validation
from sapiens2_jax.interop import exports, weights
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.training import matching, optimizer
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.matching import Parts
from sapiens2_jax.training.state import by_path
from tests import tiny, tiny_task
from tests.interop import runs
from tests.training import starting_test

# Nothing is read: `Run` starts from drawn weights.
LORA = ("model.lora_rank=3", "model.init_from=weights")
# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("lora")


@functools.cache
def history(*overrides: str, num_devices: int = 1):
  """Metrics of three steps, and the states before and after them."""
  run = tiny_task.Run(*LORA, *overrides, num_devices=num_devices)
  before = by_path({"params": run.initial.params})
  metrics = [run.step(seed) for seed in range(3)]
  after = by_path(jax.device_get(vars(run.state)))
  return run, metrics, before, after


def test_lora_and_head_alone_learn():
  run, metrics, before, after = history()
  assert metrics[0]["grad_norm"] > 0
  learned = 0
  for path, old in before.items():
    if path.startswith("params/encoder/"):
      np.testing.assert_array_equal(after[path], old, err_msg=path)
    else:
      assert (after[path] != old).any(), path
      learned += old.size
  moments = {p: x for p, x in after.items() if p.startswith("opt_state/")}
  assert not any("encoder" in path for path in moments)
  assert sum(x.size for x in moments.values()) <= 2 * learned + 10


def test_no_gradient_reaches_the_encoder():
  run, *_ = history()
  params = run.initial.params
  batch = jax.tree.map(
    lambda x: jnp.asarray(x[0]), tiny.make_batches(run.config)
  )

  def loss(params):
    key, measure = jax.random.key(0), jnp.array(True)
    return run.objective.loss(params, batch, (), key, measure)[0]

  grads = by_path(jax.jit(jax.grad(loss))(params))
  zero = {path for path, x in grads.items() if not np.any(x)}
  # Where B is zero, A has none yet.
  assert zero == {
    path
    for path in grads
    if path.startswith("encoder/")
    or (path.startswith("lora/") and path.endswith("/a"))
  }


@pytest.mark.slow
def test_the_same_for_mesh_accumulation_and_scan():
  *_, expected = history()
  *_, found = history(
    *("mesh.fsdp=2", "mesh.tensor=2", "model.gather=step"),
    *("data.accumulation_steps=2", "model.scan=false"),
    num_devices=4,
  )
  for path, x in expected.items():
    if path.startswith("params/"):
      np.testing.assert_allclose(found[path], x, atol=2e-4, err_msg=path)


def test_layer_decay_acts_on_lora_as_on_what_it_adds_to():
  arrays = {"q": {"kernel": {"a": np.ones((1, 4, 3))}}}
  blocks = {"segment_0": arrays, "segment_1": arrays}
  params = {"lora": {"blocks": blocks}, "head": {"kernel": np.ones(3)}}
  factors = by_path(optimizer.depth_factors(params, 0.5))
  path = "lora/blocks/segment_{}/q/kernel/a"
  assert factors[path.format(0)].item() == 0.25
  assert factors[path.format(1)].item() == 0.5
  assert factors["head/kernel"].item() == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A workdir with LoRA that matters, its model and its parameters."""
  workdir = tmp_path_factory.mktemp("lora") / "run"
  config = runs.task_config("normal")
  config.model.update(lora_rank=3, init_from="weights", rope_dtype="float32")
  model, rng = build_objective(config), np.random.default_rng(0)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0)))["lora"]
  lora = jax.tree.map(
    lambda x: 0.05 * rng.standard_normal(x.shape).astype(np.float32), shapes
  )
  params = runs.task_params("normal") | {"lora": lora}
  return runs.write_checkpoint(workdir, config, params, {}, 3), model, params


def test_whoever_reads_the_run_gets_the_sum(tmp_path, trained):
  workdir, model, params = trained
  size = model.config.data.image_size
  images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
  predict = jax.jit(model.predict)
  expected = predict(params, images)["normal"]
  without = {name: params[name] for name in ("encoder", "head")}
  assert np.abs(predict(without, images)["normal"] - expected).max() > 1e-3
  found = weights.find_weights(workdir)
  request = {"format": "transformers", "dtype": None}
  loaded = weights.read_weights(found)
  exports.write_export(tmp_path / "export", found, loaded, request)
  weights.write_import(tmp_path / "import", loaded, found)
  for place in (workdir, tmp_path / "export", tmp_path / "import"):
    merged, merged_params = load_task(place, rope_dtype="float32")
    assert merged_params.keys() == without.keys()
    given = predict(merged_params, images)["normal"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert merged.config.model.get("lora_rank", 0) == 0
  _, encoder = load_pretrained(workdir)
  jax.tree.map(np.testing.assert_array_equal, encoder, merged_params["encoder"])


@pytest.mark.parametrize("rank", [0, 3])
def test_a_new_run_starts_from_the_sum(trained, rank):
  """And with LoRA of its own, which needs all of the encoder."""
  workdir, model, _ = trained
  config = model.config.copy_and_resolve_references()
  config.model.update(lora_rank=rank, init_from=str(workdir))
  parts = open_parts(config)
  assert parts.needed == ("params/encoder/",) * (rank > 0)
  _, merged = load_task(workdir)
  expected = by_path({"params": merged})
  assert parts.arrays.keys() == expected.keys()
  place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  wanted = {
    path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
    for path, x in parts.arrays.items()
  }
  found = jax.device_get(parts.load(wanted))
  for path, x in expected.items():
    np.testing.assert_array_equal(found[path], x, err_msg=path)


def test_a_run_goes_on_bit_for_bit(tmp_path):
  run, _, _, expected = history()
  run.reset()
  run.step(0)
  checkpointer = Checkpointer(str(tmp_path), run.config, validation.read_config)
  checkpointer.save(run.state, 1, 8)
  checkpointer.close()
  checkpointer = Checkpointer(str(tmp_path), run.config, validation.read_config)
  run.state, _, next_example = checkpointer.restore(run.abstract)
  checkpointer.close()
  assert next_example == 8
  for seed in (1, 2):
    run.step(seed)
  found = by_path(jax.device_get(vars(run.state)))
  for path, x in expected.items():
    np.testing.assert_array_equal(found[path], x, err_msg=path)


def test_what_would_freeze_random_weights_is_refused():
  config = tiny_task.load_config(*LORA)
  config.optim.frozen_stages = 2
  assert validation.validate(config, 1) == [
    (
      "model.lora_rank=3",
      "freezes all blocks; set optim.frozen_stages=2 to 0",
    )
  ]
  config.optim.frozen_stages, config.model.init_from = 0, ""
  ((given, wrong),) = validation.validate(config, 1)
  assert given == "model.lora_rank=3" and "model.init_from" in wrong


def test_all_of_what_it_adds_to_must_be_there():
  """A window stage that starts at random would never be learned."""
  config = tiny_task.load_config(*LORA, "model.size=fine_4k")
  run = starting_test.Run("unused", config)
  known = {
    path: x
    for path, x in by_path({"params": run.abstract.params}).items()
    if "window_" not in path
  }
  needed = ("params/encoder/",)
  parts = Parts("weights", "fine", 0, known, lambda _: {}, needed)
  with pytest.raises(ValueError, match="window_stage.*missing, expected"):
    matching.match(parts, run.abstract, "fine_4k")
