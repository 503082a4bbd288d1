"""Smaller images in the first steps: one run, one state, one sequence."""

import pathlib

import jax
import numpy as np
import pytest

from data_pipelines.open_source import open_source
from sapiens2_jax.config import ConfigError
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling, staged
from sapiens2_jax.pretrain.report import contents
from sapiens2_jax.report.run import Run
from sapiens2_jax.runtime.goodput import Timeline
from sapiens2_jax.training import (
  data,
  loop,
  optimizer,
  stages,
  step,
  writers,
)
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config
from tests import tiny
from tests.end_to_end import commands

STAGES = "data.stages=32x32,16x16,0.5"
BORDER, NUM_STEPS = 3, 6


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("32x32", '"32x32" is no stage; expected HEIGHTxWIDTH'),
    ("0x32,16x16,.5", '"0x32,16x16,.5" is no stage'),
    ("32x32,16x16,1.5", "is no stage"),
    ("32x32,16x16,0.0", "is no stage"),
    ("32x32,16x16,.5;", '"" is no stage'),
    ("32x32,16x16,0.7;64x48,48x16,0.3", "fractions add up to 1; below 1"),
    ("32x32,16x16,0.001", "none of the optim.num_steps=220 steps"),
    ("30x32,16x16,0.5", "data.image_size=(30, 32) must be multiples of 16"),
    ("32x32,32x16,0.5", "gives 2 patches, but a masked global view has 1"),
    ("16x16,16x16,0.5", "mask_ratio=0.75 hides 1 of 1 patches"),
  ],
)
def test_what_no_run_can_have_is_named(text, message):
  with pytest.raises(ConfigError) as told:
    tiny.load_config(f"data.stages={text}")
  assert f"data.stages={text}" in str(told.value)
  assert message in str(told.value)


def test_4k_needs_whole_windows():
  sizes = ("model.size=tiny_4k", "data.image_size=(64, 64)")
  with pytest.raises(ConfigError, match="must be multiples of 16"):
    tiny.load_config(*sizes, "data.stages=40x32,16x16,0.5")


def test_steps_and_costs_are_those_of_runs_at_one_size():
  config = tiny.load_config("data.stages=32x32,16x16,0.5;64x32,32x16,.25")
  objective = build_objective(config)
  found = objective.stages()
  assert [(s.first, s.end) for s in found] == [(0, 110), (110, 165), (165, 220)]
  assert found[-1].objective is objective
  alone = (
    ("data.image_size=(32, 32)", "data.local_size=(16, 16)"),
    ("data.image_size=(64, 32)", "data.local_size=(32, 16)"),
    (),
  )
  costs = [build_objective(tiny.load_config(*o)).flops() for o in alone]
  assert [stage.objective.flops() for stage in found] == costs
  total = 16 * (110 * costs[0] + 55 * costs[1] + 55 * costs[2])
  assert stages.total_flops(found) == total
  bounds = staged.bounds(found, 2, 1e9)
  assert bounds["days_at_peak"] == pytest.approx(total / 2e9 / 86400)
  rate = bounds["images_a_day_at_peak"] * bounds["days_at_peak"]
  assert rate == pytest.approx(16 * 220)
  run = Run("", 0, "", config, [], [], 0, None, False)
  told = dict(contents.make_facts(objective, run, None))
  assert told["stages"] == (
    "steps 1 to 110 at 32 x 32 pixels; steps 111 to 165 at 64 x 32 pixels; "
    "steps 166 to 220 at 64 x 48 pixels"
  )
  plans = staged.to_json(found, "abc", lambda x: {"fits": x != "b"}, bounds)
  assert not plans["fits"] and plans["num_steps"] == 220
  wrong = {"first_step": 110, "end_step": 165, "fits": False}
  assert plans["stages"][1] == wrong
  text = staged.format_plans(found, [["a"], ["b"], ["c"]], ["end"])
  assert text.startswith("steps 1 to 110 at 32 x 32 pixels\na\nsteps 111")
  assert text.endswith("pixels\nc\nend")
  left = [stages.remaining_flops(found, costs, n) for n in (109, 110, 219, 220)]
  after = 55 * costs[1] + 55 * costs[2]
  assert left == [costs[0] + after, after, costs[2], 0]
  assert [stages.stage_at(found, n).first for n in (0, 109, 110, 999)] == [
    *(0, 0, 110, 165)
  ]


class Heard(Timeline):
  """Remembers the steps that are said to compile."""

  def __init__(self):
    super().__init__()
    self.compiled = []

  def enter(self, phase: str, step: int) -> None:
    super().enter(phase, step)
    if phase == "compile":
      self.compiled.append(step)


class Setting:
  """A run that can stop anywhere."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    images = commands.write_images(folder / "images")
    self.config = tiny.load_config(
      *(STAGES, f"optim.num_steps={NUM_STEPS}", f"data.path={images}"),
      *("checkpoint.every=1", "checkpoint.keep_last=9"),
    )
    self.objective = build_objective(self.config)
    self.mesh = mesh_lib.make_mesh(self.config.mesh, jax.devices()[:1])
    self.tx = optimizer.make_optimizer(self.config.optim)
    self.abstract = state_lib.abstract_state(
      self.config, self.objective, self.tx, self.mesh
    )
    self.initial = jax.device_get(
      state_lib.init_state(0, self.objective, self.tx, self.abstract)
    )
    self.step_fn = step.jit_train_step(
      self.objective, self.tx, self.config, self.mesh, self.abstract
    )

  def run(self, name: str, start: int, end: int) -> Heard:
    """From the checkpoint of `start` until there are no batches, at `end`."""
    workdir, timeline = str(self.folder / name), Heard()
    checkpointer = Checkpointer(workdir, self.config, read_config)
    if start:
      state, _, next_example = checkpointer.restore(self.abstract)
      assert int(state.step) == start
    else:
      places = jax.tree.map(lambda x: x.sharding, self.abstract)
      state, next_example = jax.device_put(self.initial, places), 0
    batch_size = self.config.data.global_batch_size
    loader = data.make_prefetcher(
      self.objective,
      open_source(self.config.data.path),
      self.mesh,
      start_step=next_example // batch_size,
      num_steps=end - start,
    )
    try:
      loop.train(
        *(state, self.step_fn, loader),
        objective=self.objective,
        workdir=workdir,
        first_example=next_example,
        checkpointer=checkpointer,
        timeline=timeline,
      )
    except StopIteration:
      assert end < NUM_STEPS
    finally:
      loader.close()
      checkpointer.close()
    return timeline

  def end_of(self, name: str):
    """State and metrics at the end."""
    workdir = str(self.folder / name)
    checkpointer = Checkpointer(workdir, self.config, read_config)
    state, *_ = checkpointer.restore(self.abstract)
    checkpointer.close()
    return jax.device_get(state), writers.read_metrics(workdir)


@pytest.mark.slow
def test_a_run_that_stops_anywhere_ends_as_an_undisturbed_one(tmp_path):
  setting = Setting(tmp_path)
  assert setting.run("whole", 0, NUM_STEPS).compiled == [0, BORDER]
  for stop in (2, BORDER):
    setting.run(f"{stop}", 0, stop)
    heard = setting.run(f"{stop}", stop, NUM_STEPS).compiled
    assert heard == sorted({stop, max(stop, BORDER)})
    found, expected = setting.end_of(f"{stop}"), setting.end_of("whole")
    jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])
    assert found[1] == expected[1] and len(found[1]) == NUM_STEPS
  # Once for each size, in all runs of this process.
  assert setting.step_fn._cache_size() == 2
  # FLOPs are told of the steps that were done.
  rows = writers.read_speed(str(tmp_path / "whole"))
  rates = [
    row["useful_flops_per_second"] / row["images_per_second"] for row in rows
  ]
  costs = [s.objective.flops() for s in setting.objective.stages()]
  np.testing.assert_allclose(rates, np.repeat(costs, 3), rtol=1e-6)


@pytest.mark.slow
def test_the_step_of_a_stage_is_that_of_a_run_at_its_size():
  # On a mesh, in microbatches; step_test.py has what meshes do to a step.
  mesh = ("mesh.data=2", "mesh.fsdp=2", "data.accumulation_steps=2")
  config = tiny.load_config(STAGES, *mesh, num_devices=4)
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:4])
  stage = build_objective(config).stages()[0].objective
  tx = optimizer.make_optimizer(config.optim)
  abstract = state_lib.abstract_state(config, stage, tx, mesh)
  batches = compiling.abstract_batches(stage, mesh)
  texts = [
    step.jit_train_step(objective, tx, config, mesh, abstract)
    .lower(abstract, batches)
    .as_text()
    for objective in (build_objective(config), stage)
  ]
  assert texts[0] == texts[1]
