"""What a search tries, and how plans are ranked and shown."""

import dataclasses
import json

import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax.chips import CHIPS
from sapiens2_jax.planning import compiling, search, text
from sapiens2_jax.planning.calibration import find_calibration
from sapiens2_jax.planning.estimate import Estimate
from sapiens2_jax.planning.plan import Memory, Plan, to_json


def load(size="1b", *overrides):
  spec = f"experiments/pretrain.py:size={size}"
  return config_lib.load_config(spec, list(overrides), lambda _: [])


COST = Estimate(
  flops=3e14,
  hbm_bytes=1e12,
  compute_seconds=0.8,
  memory_seconds=0.4,
  device_seconds=1.0,
  scheduled_seconds=1.4,
  mixed_seconds=1.1,
  communication_seconds=0.3,
  exposed_seconds=0.1,
  parts={"student": 0.7, "other": 0.3},
  collectives={("all-gather", "fsdp"): [80, 5e9, 0.3, 0.2]},
  activation_bytes=2**30,
  unknown_loops=1,
)


def make_plan(seconds=1.0, gib=40, **changes):
  memory = Memory(*(2**30,) * 5, temporaries=(gib - 5) * 2**30)
  values = {
    "config": load(),
    "topology": "v5p:4x4x4",
    "num_slices": 1,
    "num_devices": 64,
    "chip": CHIPS["v5p"],
    "useful_flops": 2.5e14,
    "hbm_bytes": memory.total,
    "memory": memory,
    "cost": dataclasses.replace(COST, device_seconds=seconds),
    **changes,
  }
  return Plan(**values)


TOO_LARGE = {"hbm_bytes": 200 * 2**30, "memory": None, "cost": None}


def test_every_candidate_divides_the_batch_over_the_chips():
  config = load()
  meshes = list(search.meshes(64, 2))
  assert [m["mesh.fsdp"] for m in meshes] == [32, 16, 4, 1, 16]
  for mesh in meshes:
    for overrides in search.candidates(config, mesh):
      changed = search.with_overrides(config, overrides)
      sizes = changed.mesh
      assert sizes.data % 2 == 0
      assert sizes.data * sizes.fsdp * sizes.tensor == 64
      micro = 2048 // changed.data.accumulation_steps
      assert micro % (sizes.data * sizes.fsdp) == 0
      assert micro % config.objective.koleo_group_size == 0
  first = next(search.candidates(config, meshes[0]))
  assert first["data.accumulation_steps"] == 4  # 8 images a chip
  assert config.mesh.fsdp == -1  # The given one is left as it was.


def format_plan(plan) -> str:
  return "\n".join([*text.body(plan), text.method(plan)])


def test_a_mesh_is_left_with_its_first_plan_that_fits():
  tried = []

  def plan(overrides):
    tried.append(overrides)
    images = 2048 // overrides["data.accumulation_steps"] // 64
    if overrides["mesh.data"] == 4:  # Fits with two images, not with block.
      if images > 2 or overrides["model.remat"] == "block":
        return make_plan(**TOO_LARGE)
      return make_plan(1.0)
    if overrides["mesh.tensor"] == 2:
      return None
    return make_plan(2.0) if images <= 4 else make_plan(0.5, gib=90)

  found = search.search(load(), 64, 1, 40 * 2**30, plan)
  assert [p.cost.device_seconds for p in found] == [1.0, 2.0, 2.0]
  of_copies = [t for t in tried if t["mesh.data"] == 4]
  assert [t["model.remat"] for t in of_copies] == ["block"] * 4 + ["full"] * 3
  assert len([t for t in tried if t["mesh.fsdp"] == 64]) == 2
  assert not [t for t in tried if t["mesh.fsdp"] == 1]  # 27 GiB of state.
  table = search.format_table([*found, make_plan(**TOO_LARGE)])
  assert f"{found[0].step_seconds.median:.3f}" in table and "209%" in table


def test_numbers_follow_from_each_other():
  plan = make_plan()
  found = to_json(plan)
  assert json.loads(json.dumps(found)) == found
  assert found["estimated_step_seconds"] == pytest.approx(1.1)
  assert found["scheduled_step_seconds"] == pytest.approx(1.5)
  ratio = find_calibration("v5p").roofline
  seconds = found["calibrated_step_seconds"]
  assert seconds == pytest.approx(1.1 * ratio.median)
  assert found["calibrated_step_seconds_low"] == pytest.approx(1.1 * ratio.low)
  mfu = found["calibrated_mfu"]
  assert mfu == pytest.approx(2.5e14 / (seconds * 459e12))
  assert found["images_per_second"] == pytest.approx(2048 / seconds)
  days = found["days_for_one_billion_images"]
  assert days == pytest.approx(1e9 / (2048 / seconds) / 86400)
  assert found["days_for_all_steps"] == pytest.approx(5e5 * seconds / 86400)
  assert found["fits"] and found["hbm_fraction"] < 0.9
  assert sum(found["memory"].values()) == found["hbm_bytes"]


def test_without_code_there_are_no_cycles():
  plan = make_plan(has_cycles=False)
  found = to_json(plan)
  assert found["scheduled_step_seconds"] is found["mixed_step_seconds"] is None
  assert found["calibrated_mfu"] == plan.mfu
  assert "(the compiler's cycles are not known)" in format_plan(plan)


def test_what_does_not_fit_says_so_and_claims_no_speed():
  plan = make_plan(**TOO_LARGE)
  assert not plan.fits and to_json(plan)["fits"] is False
  assert "calibrated_mfu" not in to_json(plan)
  shown = format_plan(plan)
  assert "200.00 GiB of 95.73 GiB, 208.9%: DOES NOT FIT" in shown
  assert "TOO TIGHT" in format_plan(make_plan(gib=90))


def test_the_text_names_its_assumptions_and_its_calibration():
  plan = make_plan()
  shown = format_plan(plan)
  for part in ("101%, 106%, 130%", "not measured", "was not run on a TPU"):
    assert part in shown
  assert "67% started ahead" in shown
  step, runs = plan.step_seconds, find_calibration("v5p").runs
  assert f"{step.median:.3f} s ({step.low:.3f} to {step.high:.3f})" in shown
  assert f"what {runs} published run" in shown and "models on v5p" in shown
  shown = format_plan(make_plan(chip=CHIPS["v4"], topology="v4:2x2x4"))
  assert "on other chips than v4" in shown
  halves = {"chip": CHIPS["tpu7x"], "topology": "tpu7x:2x4x4"}
  assert "64 devices (32 chips)" in format_plan(make_plan(**halves))


@pytest.mark.parametrize("topology", ["v5p", "v7:2x2", "v5p:4x", "v5p:64"])
def test_a_topology_that_is_none_is_refused(topology):
  with pytest.raises(ValueError, match=f"topology={topology}: expected a chip"):
    compiling.parse_topology(topology)
