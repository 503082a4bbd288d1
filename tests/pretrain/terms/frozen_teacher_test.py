"""Distillation from a frozen teacher: values, in the step, and its start."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.config import ConfigError
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.pretrain import views
from sapiens2_jax.pretrain.terms import frozen_teacher
from sapiens2_jax.training import starting
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config
from tests import tiny
from tests.interop import samples

RNG = np.random.default_rng(0)
TEACHER = "distill_teacher"
BESIDE = (
  *("objective.w_distill=0.7", "objective.distill_size=tiny_large"),
  "objective.distill_from=somewhere",
)
INSTEAD = (*BESIDE, "objective.w_cl=0.0")
NUM_STEPS = 3


def test_the_loss_is_one_minus_the_mean_cosine():
  x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
  y = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
  lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
  expected = 1 - ((x * y).sum(-1) / lengths).mean()
  found = frozen_teacher.cosine_distance(x, y)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  # Rounding of float32 sums.
  same = frozen_teacher.cosine_distance(x, 3 * x)
  np.testing.assert_allclose(same, 0, atol=1e-6)


def test_no_gradient_reaches_the_teachers_features():
  x, y = (jnp.asarray(RNG.normal(size=(2, 4, 5)), jnp.float32) for _ in "xy")
  loss = frozen_teacher.cosine_distance
  grads = jax.grad(loss, argnums=(0, 1))(x, y)
  assert np.abs(grads[0]).max() > 0 and np.abs(grads[1]).max() == 0


# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("frozen_teacher")


compiled = tiny.keep_runs(tiny.Run)


@functools.cache
def history(*overrides: str, num_devices: int = 1):
  """Metrics of a few steps, the state before them and the one after."""
  run = compiled(*overrides, num_devices=num_devices)
  run.reset()
  before = jax.device_get(run.state)
  metrics = [run.step(seed) for seed in range(NUM_STEPS)]
  return metrics, before, jax.device_get(run.state)


def normalized(x) -> np.ndarray:
  x = np.asarray(x, np.float64)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_term_compares_the_whole_view_with_what_the_student_sees():
  run = compiled(*BESIDE)
  metrics, state, _ = history(*BESIDE)
  batches = tiny.make_batches(run.config, 0)
  batch = {name: jnp.asarray(array[0]) for name, array in batches.items()}
  rng = jax.random.wrap_key_data(state.rng)
  shown = run.objective.make_views(batch, rng)
  images = views.global_views(batch, rng).images
  flat = images.reshape(-1, *images.shape[2:])
  ids = shown.visible_ids.reshape(len(flat), -1)

  large = Encoder(ARCHITECTURES["tiny_large"])
  teacher = large.apply({"params": state.teacher_state[TEACHER]}, flat)
  student = run.objective.encoder.apply(
    {"params": state.params["encoder"]}, flat, ids
  )
  patches = np.asarray(teacher.patches).reshape(len(flat), -1, 80)
  chosen = np.asarray(ids)[..., None]
  pairs = {
    "distill_cls": (student.cls, teacher.cls),
    "distill_patches": (
      student.patches,
      np.take_along_axis(patches, chosen, axis=1),
    ),
  }
  for name, (ours, wanted) in pairs.items():
    layer = state.params[name]
    projected = np.asarray(ours, np.float64) @ layer["kernel"] + layer["bias"]
    cosines = (normalized(projected) * normalized(wanted)).sum(-1)
    # Two encoders in float32.
    np.testing.assert_allclose(metrics[0][name], 1 - cosines.mean(), atol=1e-5)
  total = sum(metrics[0][name] for name in pairs)
  np.testing.assert_allclose(metrics[0]["loss_distill"], total, rtol=1e-6)


# One program for both: compiling is what takes time.
ELSEWHERE = ("mesh.fsdp=4", "mesh.tensor=2", "data.accumulation_steps=2")


def test_mesh_and_accumulation_change_nothing():
  whole = history(*BESIDE)
  found = history(*BESIDE, *ELSEWHERE, num_devices=8)
  losses = [row["loss_distill"] for row in whole[0]]
  assert losses[0] != losses[-1]
  for row, expected in zip(found[0], whole[0]):
    for name in ("loss", "loss_distill", "distill_cls", "distill_patches"):
      np.testing.assert_allclose(row[name], expected[name], atol=1e-5)
    np.testing.assert_allclose(
      row["grad_norm"], expected["grad_norm"], rtol=1e-4
    )


def test_the_teacher_stays_and_is_nowhere_else():
  _, before, after = history(*BESIDE)
  chex.assert_trees_all_equal(
    after.teacher_state[TEACHER], before.teacher_state[TEACHER]
  )
  # A width of the teacher is on one side of the projections alone.
  learned = jax.tree_util.tree_leaves_with_path((after.params, after.opt_state))
  wide = {path[-2].key for path, leaf in learned if 80 in np.shape(leaf)}
  assert wide == {"distill_cls", "distill_patches"}
  for name in wide:
    moved = after.params[name]["kernel"] - before.params[name]["kernel"]
    assert np.abs(moved).max() > 0


def test_the_teacher_is_sharded_as_the_student_is():
  run = compiled(*BESIDE, *ELSEWHERE, num_devices=8)
  frozen = run.state.teacher_state[TEACHER]
  kernel = frozen["blocks"]["segment_0"]["attention"]["q"]["kernel"]
  assert kernel.sharding.spec == jax.P(None, "fsdp", "tensor")
  assert kernel.addressable_shards[0].data.size * 8 == kernel.size


@pytest.mark.parametrize("chosen", [BESIDE, INSTEAD], ids=["beside", "instead"])
def test_executed_flops_are_the_useful_ones(chosen):
  run = compiled(*chosen)
  useful = run.objective.flops() * run.config.data.global_batch_size
  assert run.executed_flops() == pytest.approx(useful, rel=1e-3)


def test_without_its_terms_the_ema_teacher_costs_nothing():
  flops = {
    name: tiny.build_objective(tiny.load_config(*chosen)).flops()
    for name, chosen in {
      "mae": ("objective.w_cl=0.0",),
      "instead": INSTEAD,
      "beside": BESIDE,
      "joint": (),
    }.items()
  }
  # What the term adds is the same: no other encoder comes or goes with it.
  added = flops["instead"] - flops["mae"]
  assert added == flops["beside"] - flops["joint"] > 0
  metrics, before, after = history(*INSTEAD)
  assert {n for n in metrics[0] if n.startswith("loss_")} == {
    *("loss_mae", "loss_koleo", "loss_distill")
  }
  assert set(after.teacher_state) == {"teacher", TEACHER}
  # It is averaged all the same, for probes and exports.
  moved = jax.tree.map(
    lambda x, y: np.abs(x - y).max(),
    after.teacher_state["teacher"],
    before.teacher_state["teacher"],
  )
  assert max(jax.tree.leaves(moved)) > 0


def write_teacher(path, size: str = "tiny_large"):
  return samples.write(path, samples.arrays(ARCHITECTURES[size]))


def start(run: tiny.Run, workdir, config):
  """What a run starts with: fresh, or the newest checkpoint."""
  checkpointer = Checkpointer(str(workdir), config, read_config)
  objective = tiny.build_objective(config)
  state, example = starting.restore_or_init(
    *(objective, checkpointer, run.tx, run.abstract),
    *(open_parts, load_pretrained),
  )
  return checkpointer, state, example


def test_a_run_goes_on_without_the_file_bit_for_bit(tmp_path, capsys):
  run = compiled(*BESIDE)
  file = write_teacher(tmp_path / "teacher.safetensors")
  config = tiny.load_config(*BESIDE, f"objective.distill_from={file}")
  checkpointer, run.state, _ = start(run, tmp_path / "run", config)
  assert f"{TEACHER} from {file}" in capsys.readouterr().out
  _, given = load_pretrained(file)
  chex.assert_trees_all_equal(run.state.teacher_state[TEACHER], given)
  run.step(0)
  next_example = config.data.global_batch_size
  checkpointer.save(run.state, 1, next_example)
  checkpointer.close()
  expected = run.step(1), jax.device_get(run.state)

  file.unlink()
  checkpointer, run.state, example = start(run, tmp_path / "run", config)
  checkpointer.close()
  assert example == next_example
  said = capsys.readouterr().out
  assert f"{TEACHER} as saved; objective.distill_from is not read" in said
  found = run.step(1), jax.device_get(run.state)
  chex.assert_trees_all_equal(found, expected)


def test_the_encoder_that_a_run_starts_from_leaves_the_teacher(tmp_path):
  run = compiled(*BESIDE)
  files = {
    name: write_teacher(tmp_path / f"{name}.safetensors", name)
    for name in ("tiny", "tiny_large")
  }
  config = tiny.load_config(
    *BESIDE,
    f"model.init_from={files['tiny']}",
    f"objective.distill_from={files['tiny_large']}",
  )
  checkpointer, state, _ = start(run, tmp_path / "run", config)
  checkpointer.close()
  encoder = load_pretrained(files["tiny"])[1]
  teacher = load_pretrained(files["tiny_large"])[1]
  averaged = state.teacher_state["teacher"]["encoder"]
  for found, expected in (
    (state.params["encoder"], encoder),
    (averaged, encoder),
    (state.teacher_state[TEACHER], teacher),
  ):
    chex.assert_trees_all_equal(found, expected)
  assert jax.tree.structure(state) == jax.tree.structure(run.abstract)


def test_weights_of_another_size_are_refused(tmp_path):
  run = compiled(*BESIDE)
  file = write_teacher(tmp_path / "teacher.safetensors", "tiny")
  for place, said in (
    (file, f"{file} holds a tiny, expected objective.distill_size=tiny_large"),
    (tmp_path / "none", r"objective.distill_from: .*none"),
  ):
    config = tiny.load_config(*BESIDE, f"objective.distill_from={place}")
    with pytest.raises(ValueError, match=said):
      start(run, tmp_path / "run", config)


def problems_of(*overrides: str, num_devices: int = 1) -> dict[str, str]:
  with pytest.raises(ConfigError) as caught:
    tiny.load_config(*overrides, num_devices=num_devices)
  return dict(caught.value.problems)


def test_what_a_config_lacks_is_said(monkeypatch):
  coarse = Architecture("tiny_coarse", 80, 2, 4, 1, 0, patch_size=8)
  monkeypatch.setitem(ARCHITECTURES, "tiny_coarse", coarse)
  chosen = ("objective.w_distill=1.0", "objective.distill_size=tiny_coarse")
  assert problems_of(*chosen) == {
    "objective.w_distill=1.0": (
      "needs objective.distill_from, the weights of the teacher"
    ),
    "objective.distill_size=tiny_coarse": (
      "has a token for 8 x 8 pixels, model.size=tiny for 16 x 16; teacher and "
      "student need the same grid"
    ),
  }
  odd = Architecture("tiny_odd", 36, 1, 3, 1, 0)
  monkeypatch.setitem(ARCHITECTURES, "tiny_odd", odd)
  found = problems_of(
    *(*BESIDE, "objective.distill_size=tiny_odd"),
    *("mesh.fsdp=4", "mesh.tensor=2"),
    num_devices=8,
  )
  assert found == {"mesh.tensor=2": "does not divide 3 heads"}
  # Nobody asks while the weight is 0.
  tiny.load_config("objective.distill_size=tiny_coarse")


def test_a_state_is_planned_without_the_file():
  run = compiled(*BESIDE)
  objective = tiny.build_objective(tiny.load_config(*BESIDE))
  abstract = state_lib.abstract_state(run.config, objective, run.tx, run.mesh)
  frozen = jax.tree.leaves(abstract.teacher_state[TEACHER])
  count = sum(leaf.size for leaf in frozen)
  assert count == ARCHITECTURES["tiny_large"].num_params
