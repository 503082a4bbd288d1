"""Same math for any mesh, any accumulation, scan or no scan."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.planning import account, hlo
from sapiens2_jax.training import state as state_lib
from tests import tiny

LOSSES = ("loss", "loss_mae", "loss_cl", "loss_koleo", "teacher_entropy")
NUM_STEPS = 3
CENTER = "objective.target=center"


# One worker takes all of this file: what is compiled is compiled once.
pytestmark = pytest.mark.xdist_group("step")


compiled = tiny.keep_runs(tiny.Run)


def fresh(*overrides: str, num_devices: int = 1):
  run = compiled(*overrides, num_devices=num_devices)
  run.reset()
  return run


@functools.cache
def history(*overrides: str, num_devices: int = 1):
  """Metrics of a few steps, and the state after them on the host."""
  run = fresh(*overrides, num_devices=num_devices)
  metrics = [run.step(seed) for seed in range(NUM_STEPS)]
  return metrics, jax.device_get(run.state)


def assert_same_run(found, expected, atol=1e-5):
  for step, (row, wanted) in enumerate(zip(found[0], expected[0])):
    for name in LOSSES:
      np.testing.assert_allclose(
        row[name], wanted[name], atol=atol, err_msg=f"{name} at step {step}"
      )
  # Logit statistics of the global batch, teacher_state through every step.
  np.testing.assert_allclose(
    found[1].teacher_state["center"],
    expected[1].teacher_state["center"],
    atol=atol,
  )


def assert_same_gradients(found, expected):
  np.testing.assert_allclose(
    [row["grad_norm"] for row in found[0]],
    [row["grad_norm"] for row in expected[0]],
    rtol=1e-4,
  )


# First, as they all need the same program, of which few are kept.
def test_the_run_is_not_trivial():
  metrics, state = history(CENTER)
  assert metrics[0]["loss"] != metrics[-1]["loss"]
  assert np.ptp(state.teacher_state["center"]) > 1e-3
  assert state.step == NUM_STEPS


def test_a_non_finite_step_changes_only_the_counters():
  run = fresh(CENTER)
  run.step(0)
  poisoned = run.state.params["decoder"]["mask_token"].at[0].set(jnp.nan)
  run.state.params["decoder"]["mask_token"] = poisoned
  before = jax.device_get(run.state)
  metrics = run.step(1)
  after = jax.device_get(run.state)
  assert np.isnan(metrics["loss"])
  assert after.nonfinite_streak == after.nonfinite_total == 1
  assert after.step == before.step + 1
  chex.assert_trees_all_equal(
    (after.params, after.opt_state, after.teacher_state),
    (before.params, before.opt_state, before.teacher_state),
  )
  run.state.params["decoder"]["mask_token"] = jnp.zeros_like(poisoned)
  assert np.isfinite(run.step(2)["loss"])
  assert run.state.nonfinite_streak == 0
  assert run.state.nonfinite_total == 1


def test_teacher_is_the_average_of_teacher_and_new_student():
  run = fresh(CENTER)
  old = jax.device_get(run.state.teacher_state["teacher"])
  run.step(0)
  student = jax.device_get(run.state.params)
  expected = jax.tree.map(
    lambda t, s: 0.992 * t + 0.008 * s,
    old,
    {name: student[name] for name in old},
  )
  chex.assert_trees_all_close(
    jax.device_get(run.state.teacher_state["teacher"]), expected, atol=1e-6
  )
  moved = student["encoder"]["cls_token"] - old["encoder"]["cls_token"]
  assert np.abs(moved).max() > 5e-4


@functools.cache
def executed_flops(*overrides: str, num_devices: int = 1) -> int:
  return compiled(*overrides, num_devices=num_devices).executed_flops()


DATA_FSDP = ("mesh.data=2", "mesh.fsdp=4")
FSDP_TENSOR = ("mesh.fsdp=4", "mesh.tensor=2")
# Sequences of 12 and 21 tokens; the longer ones are padded.
SEQUENCE = ("mesh.fsdp=2", "mesh.sequence=2", "mesh.tensor=2")
# Compiling is what takes time: what must change no number, is there together.
PARTS = (*FSDP_TENSOR, "data.accumulation_steps=2")
GATHERED = (*PARTS, "model.gather=step")
# Parts of 6 windows, of global views of 12 and local ones of 3.
HIGH_RESOLUTION = (CENTER, "model.size=tiny_4k", "model.window_chunk=6")


@pytest.mark.parametrize("more", [(), HIGH_RESOLUTION[1:]], ids=str)
def test_executed_flops_are_the_useful_ones(more):
  run = compiled(CENTER, *more)
  useful = run.objective.flops() * run.config.data.global_batch_size
  assert executed_flops(CENTER, *more) == pytest.approx(useful, rel=1e-3)


def test_windows_depend_on_no_mesh_and_no_rematerialisation():
  places = (*SEQUENCE, "model.remat=block")
  found = history(*HIGH_RESOLUTION, *places, num_devices=8)
  assert_same_run(found, history(*HIGH_RESOLUTION))


# A number of prototypes that no other axis has.
SINKHORN = ("objective.target=sinkhorn", "model.prototypes=46")


# 16 images, KoLeo groups of 8: with eight parts a group spans four devices,
# with tensor=2 the prototypes are split.
@pytest.mark.parametrize("places", [DATA_FSDP, SEQUENCE, GATHERED], ids=str)
def test_a_mesh_changes_no_loss_and_does_no_work_twice(places):
  found = history(CENTER, *places, num_devices=8)
  parts = executed_flops(CENTER, *places, num_devices=8)
  assert_same_run(found, history(CENTER))
  assert_same_gradients(found, history(CENTER))
  whole = executed_flops(CENTER)
  # What is padded for the sequence axis is work, too.
  limit = 1.2 if places == SEQUENCE else 1.03
  assert whole <= parts <= limit * whole


def test_parameters_and_moments_are_sharded():
  run = fresh(CENTER, *GATHERED, num_devices=8)
  kernel = ("blocks", "segment_0", "attention", "q", "kernel")

  def leaf(tree):
    for name in kernel:
      tree = tree[name]
    return tree

  adam = run.state.opt_state[1]
  for tree in (run.state.params, run.state.teacher_state["teacher"], adam.mu):
    value = leaf(tree["encoder"])
    assert value.sharding.spec == jax.P(None, "fsdp", "tensor")
    assert value.addressable_shards[0].data.size * 8 == value.size
  prototypes = run.state.params["head"]["prototypes"]["kernel"]
  assert prototypes.sharding.spec == jax.P("fsdp", "tensor")


def test_a_state_starts_on_a_mesh_as_on_one_device():
  run = compiled(CENTER, *GATHERED, num_devices=8)
  found = state_lib.init_state(0, run.objective, run.tx, run.abstract)
  chex.assert_trees_all_equal(jax.device_get(found), run.initial)


def test_weights_gathered_once_move_once():
  run = compiled(CENTER, *GATHERED, num_devices=8)
  # Whole matrices of blocks come out of no loop; tensor=2 halves them.
  works = account.walk(hlo.parse(run.step_fn.as_text()))
  hidden = run.objective.encoder.architecture.hidden_dim // 2
  gathers = [
    work.times
    for work in works
    if work.collective
    and work.collective.opcode == "all-gather"
    and any(hidden in array.dims for array in work.instruction.result)
  ]
  assert gathers and max(gathers) == 1


AGAIN = (*PARTS, "model.remat=full")


def test_sinkhorn_depends_on_no_mesh_accumulation_or_rematerialisation():
  found = history(*SINKHORN, *AGAIN, num_devices=8)
  assert_same_run(found, history(*SINKHORN))
  assert_same_gradients(found, history(*SINKHORN))


def test_no_device_holds_the_logits_of_the_global_batch():
  run = compiled(*SINKHORN, *AGAIN, num_devices=8)
  model, data = run.config.model, run.config.data
  logits = data.global_batch_size * data.num_global * model.prototypes
  program = hlo.parse(run.step_fn.as_text())
  largest = max(
    math.prod(array.dims)
    for computation in program.computations.values()
    for instruction in computation.values()
    for array in instruction.result
    if model.prototypes in array.dims or model.prototypes // 2 in array.dims
  )
  # All of the teacher's are a half, as prototypes are in two parts. The largest
  # are the weights of a part, and the student's: six views of an eighth.
  assert largest <= logits / 4
