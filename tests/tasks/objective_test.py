"""Same math for any mesh, accumulation and scan; what is learned."""

import functools

import chex
import jax
import numpy as np
import pytest

from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.pretrain.objective import PretrainObjective, build_pretrain
from sapiens2_jax.tasks.objective import TaskObjective, build_task
from sapiens2_jax.training import step
from tests import tiny, tiny_task

NUM_STEPS = 2


# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("objective")


compiled = tiny.keep_runs(tiny_task.Run)


@functools.cache
def history(*overrides: str, num_devices: int = 1):
  """Metrics of a few steps, and the parameters after them on the host."""
  run = compiled(*overrides, num_devices=num_devices)
  run.reset()
  metrics = [run.step(seed) for seed in range(NUM_STEPS)]
  return metrics, jax.device_get(run.state.params)


# Compiling is what takes time: mesh and accumulation are one program.
@pytest.mark.parametrize(
  ("chosen", "places"),
  [
    (
      ("optim.name=muon",),
      (
        *("mesh.fsdp=2", "mesh.sequence=2", "mesh.tensor=2"),
        "data.accumulation_steps=2",
      ),
    ),
    ((), ("mesh.fsdp=8",)),  # AdamW
  ],
  ids=str,
)
def test_a_step_does_not_depend_on_mesh_and_accumulation(chosen, places):
  found = history(*chosen, *places, num_devices=8)
  expected = history(*chosen)
  for row, wanted in zip(found[0], expected[0]):
    assert row.keys() == wanted.keys()
    for name in ("loss", "loss_square", "grad_norm"):
      np.testing.assert_allclose(row[name], wanted[name], rtol=1e-5)
  chex.assert_trees_all_close(found[1], expected[1], atol=1e-5)


def test_every_parameter_is_learned():
  run = compiled()
  run.reset()
  before = jax.device_get(run.state.params)
  run.step()
  moved = jax.tree.map(
    lambda new, old: np.abs(new - old).max(),
    jax.device_get(run.state.params),
    before,
  )
  assert min(jax.tree.leaves(moved)) > 0
  assert run.state.teacher_state == {}


def test_the_head_sees_normalised_features_of_the_patches():
  run = compiled()
  run.reset()
  objective, params = run.objective, run.state.params
  assert isinstance(objective, TaskObjective)
  image = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), np.uint8)
  pixels = pixel_lib.from_uint8(image)
  encode = jax.jit(objective.encoder.apply)
  features = encode({"params": params["encoder"]}, pixels)
  expected = objective.head.apply({"params": params["head"]}, features.patches)
  predict = step.jit_predict(objective, run.config, run.mesh, run.abstract)
  found = predict(params, image)
  chex.assert_trees_all_close(found, expected, atol=1e-5)
  assert found["alpha"].shape == (2, 4, 3, 1)


def test_the_config_says_which_objective():
  assert isinstance(build_objective(tiny.load_config()), PretrainObjective)
  with pytest.raises(ValueError, match="expected a config of pretraining"):
    build_pretrain(tiny_task.load_config())
  with pytest.raises(ValueError, match="expected one of a task"):
    build_task(tiny.load_config())
