"""Patch-level distillation and Gram anchoring: values, and in the step."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling
from sapiens2_jax.pretrain.terms import gram, patch_distillation
from sapiens2_jax.training import optimizer, step
from sapiens2_jax.training import state as state_lib
from tests import tiny

RNG = np.random.default_rng(0)
BOTH = ("objective.w_ibot=0.5", "objective.w_gram=0.7")
NUM_STEPS = 3


def test_the_patch_loss_is_the_mean_cross_entropy_of_equal_patches():
  logits = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
  targets = RNG.dirichlet(np.ones(5), (2, 3, 4)).astype(np.float32)
  scores = logits.astype(np.float64) / 0.1
  log = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
  expected = -(targets * log).sum(-1).mean()
  found = patch_distillation.patch_distillation_loss(logits, targets, 0.1)
  # Float32 against float64.
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_gram_loss_is_the_mean_square_between_cosine_matrices():
  features = RNG.normal(size=(2, 2, 5, 7)).astype(np.float32)
  anchors = RNG.normal(size=(2, 2, 5, 7)).astype(np.float32)

  def cosines(x):
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return x @ np.swapaxes(x, -1, -2)

  expected = ((cosines(features) - cosines(anchors)) ** 2).mean((-1, -2))
  found = gram.gram_losses(features, gram.normalize_features(anchors))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  same = gram.gram_losses(features, gram.normalize_features(features))
  np.testing.assert_allclose(same, 0, atol=1e-12)


def test_no_gradient_reaches_targets_and_anchors():
  logits = jnp.asarray(RNG.normal(size=(2, 1, 4, 5)), jnp.float32)
  loss = patch_distillation.patch_distillation_loss
  grads = jax.grad(loss, argnums=(0, 1))(logits, jax.nn.softmax(logits), 0.1)
  assert np.abs(grads[0]).max() > 0 and np.abs(grads[1]).max() == 0

  def total(features, anchors):
    return gram.gram_losses(features, anchors).sum()

  grads = jax.grad(total, argnums=(0, 1))(logits, logits[..., ::-1])
  assert np.abs(grads[0]).max() > 0 and np.abs(grads[1]).max() == 0


def test_patches_are_chosen_evenly():
  ids = jnp.arange(20).reshape(1, 2, 10) * 3
  places, chosen = patch_distillation.choose_patches(ids, 4)
  assert places.tolist() == [0, 2, 5, 7]
  assert chosen[0, 1].tolist() == [30, 36, 45, 51]
  assert patch_distillation.choose_patches(ids, 0)[1].shape == ids.shape
  assert patch_distillation.choose_patches(ids, 99)[1].shape == ids.shape


# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("patch_terms")


@functools.cache
def history(*overrides: str, num_devices: int = 1):
  run = tiny.Run(*BOTH, *overrides, num_devices=num_devices)
  metrics = [run.step(seed) for seed in range(NUM_STEPS)]
  return metrics, jax.device_get(run.state), run.config


def assert_same_losses(found, expected, atol=1e-5):
  names = {name for name in expected[0][0] if name.startswith("loss")}
  assert {"loss_ibot", "loss_gram"} < names
  for row, wanted in zip(found[0], expected[0]):
    for name in (*names, "patch_entropy"):
      np.testing.assert_allclose(row[name], wanted[name], atol=atol)
  for name in ("patch_center", "gram_teacher"):
    chex.assert_trees_all_close(
      found[1].teacher_state[name], expected[1].teacher_state[name], atol=atol
    )


# The anchors of one are the newest teacher, the other one's stay.
MASKED = ("objective.ibot_tokens=masked", "objective.gram_refresh_steps=1")
SHARED = ("objective.ibot_head=shared", "objective.gram_start_step=2")


# One program for both: compiling is what takes time.
ELSEWHERE = ("mesh.fsdp=4", "mesh.tensor=2", "data.accumulation_steps=2")


@pytest.mark.parametrize("chosen", [MASKED, SHARED], ids=["masked", "shared"])
def test_mesh_and_accumulation_change_nothing(chosen):
  whole = history(*chosen)
  assert np.ptp(whole[1].teacher_state["patch_center"]) > 1e-4
  assert_same_losses(history(*chosen, *ELSEWHERE, num_devices=8), whole)


def test_modules_are_those_that_the_choice_needs():
  _, masked, _ = history(*MASKED)
  _, shared, _ = history(*SHARED)
  assert {"patch_head", "patch_projection"} <= set(masked.params)
  assert set(shared.params) == {"encoder", "decoder", "head"}
  assert set(masked.teacher_state["teacher"]) == {
    "encoder",
    "head",
    "patch_head",
  }


def test_gram_anchors_start_at_their_step_and_stay():
  metrics, state, _ = history(*SHARED)
  losses = [row["loss_gram"] for row in metrics]
  assert losses[:2] == [0.0, 0.0] and losses[2] > 0
  # Frozen since the end of step 1, while the teacher went on.
  frozen = state.teacher_state["gram_teacher"]["cls_token"]
  teacher = state.teacher_state["teacher"]["encoder"]["cls_token"]
  assert np.abs(frozen - teacher).max() > 0
  refreshed = history(*MASKED)[1]
  # The compiler may write the average twice, and round it otherwise.
  chex.assert_trees_all_close(
    refreshed.teacher_state["gram_teacher"],
    refreshed.teacher_state["teacher"]["encoder"],
    atol=1e-7,
  )


def test_terms_of_weight_zero_leave_nothing_behind():
  config = tiny.load_config("objective.w_cl=0.0", "objective.w_koleo=0.0")
  objective = tiny.build_objective(config)
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  tx = optimizer.make_optimizer(config.optim)
  state = state_lib.abstract_state(config, objective, tx, mesh)
  assert set(state.params) == {"encoder", "decoder"}
  assert set(state.teacher_state) == {"teacher"}
  take_step = step.jit_train_step(objective, tx, config, mesh, state)
  batches = compiling.abstract_batches(objective, mesh)
  _, metrics = jax.eval_shape(take_step, state, batches)
  assert {n for n in metrics if n.startswith("loss_")} == {"loss_mae"}
  whole = tiny.build_objective(tiny.load_config())
  assert objective.flops() < whole.flops()
