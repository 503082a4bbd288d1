"""The real step, compiled by the TPU compiler, on a machine without a TPU."""

import json
import os
import sys

import pytest

from tests import forking, tiny

pytest.importorskip("libtpu")


TINY_PLAN = """
import runpy, tests.tiny
runpy.run_module("sapiens2_jax.plan", run_name="__main__")
"""


def plan(*arguments: str, topology: str = "v5p:2x2x1"):
  command = [
    *(sys.executable, "-c", TINY_PLAN, "--topology", topology),
    *("--config", "experiments/pretrain.py:size=toy"),
    *arguments,
  ]
  env = {**os.environ, "XLA_FLAGS": ""}
  return forking.run(command, env)


TINY = [f"--config.{option}" for option in (*tiny.SIZE, "model.size=tiny")]
# Sequences long enough for the kernel: 256 + 9 tokens, a quarter of them seen.
KERNEL = (
  "--config.data.image_size=(256, 256)",
  "--config.data.local_size=(128, 128)",
  "--config.model.dtype=bfloat16",
  "--config.model.remat=block",
  "--config.mesh.fsdp=2",
  "--config.mesh.tensor=2",
)


@pytest.mark.slow
def test_a_plan_of_the_real_step():
  done = plan("--json", *TINY, *KERNEL)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found["fits"] and 0 < found["hbm_fraction"] < 0.1
  assert sum(found["memory"].values()) == found["hbm_bytes"]
  assert found["memory"]["activations"] > 0
  # The kernel's padding and what is computed again, but each loop and kernel.
  assert 1.0 < found["executed_flops"] / found["useful_flops"] < 2.0
  assert 0 < found["calibrated_mfu"] < 1
  assert found["calibration"]["chip"] == "v5p"
  seconds = found["calibrated_step_seconds"]
  assert found["images_per_second"] == pytest.approx(16 / seconds)
  assert found["scheduled_step_seconds"] > 0
  assert {row["axes"] for row in found["collectives"]} >= {"fsdp", "tensor"}
  assert {"teacher", "student", "decoder"} <= set(found["seconds_by_part"])


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config.mesh.fsdp=3"], "does not multiply to 4 devices"),
    (["--config.mesh.fdsp=3"], "did you mean mesh.fsdp?"),
    (["--num_slices", "0"], "num_slices=0: must be at least 1"),
    # Nothing that was asked for is left out in silence.
    (
      ["--search", "--config.data.stages=64x48,48x16,0.5"],
      "--search: looks at one size, found data.stages=64x48,48x16,0.5",
    ),
    (["--num_devices", "32"], "--num_devices: only with --device"),
    (["--config.sharding.mlp=tensro"], "did you mean tensor"),
  ],
)
def test_mistakes_end_with_2_before_anything_compiles(arguments, message):
  done = plan(*arguments)
  assert done.returncode == 2
  assert message in done.stderr
  assert "Traceback" not in done.stderr and "compiling" not in done.stderr


def test_a_topology_that_does_not_exist_is_named():
  done = plan(topology="v5p:3")
  assert done.returncode == 2
  assert (
    "topology=v5p:3: expected a chip (v4, v5e, v5p, v6e, tpu7x)" in done.stderr
  )
