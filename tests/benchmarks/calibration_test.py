"""benchmarks/calibration.py, published.py and decoder.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import calibration, published
from benchmarks.decoder import Program, Remat, Shape, param_specs
from sapiens2_jax.parallel import mesh as mesh_lib
from tests.benchmarks.running import run

RUNS = {(r.name, r.topology): r for r in published.RUNS}


@pytest.mark.parametrize(
  ("name", "topology", "tflops"),
  [
    ("Llama 3.1 8B on 8", "v6e:2x4", 413.433),
    ("Llama 3.1 8B on 256", "v6e:16x16", 417.397),
    ("Llama 3.1 70B on 64", "v6e:8x8", 422.091),
    ("Llama 3.1 70B on 256", "v6e:16x16", 462.297),
  ],
)
def test_flops_are_counted_as_the_source_counts_them(name, topology, tflops):
  found = RUNS[name, topology]
  rate = found.counted_flops / found.seconds / 1e12
  assert rate == pytest.approx(tflops, rel=2e-4)  # Its log has four digits.


def make_program() -> Program:
  mesh = mesh_lib.make_mesh(
    {"data": 1, "fsdp": 1, "sequence": 1, "tensor": 1}, jax.devices()[:1]
  )
  remat = Remat(saved=("layer_input",))
  blocks = calibration.block_sizes(published.SMALLEST, 128)
  return Program(Shape(32, 2, 2, 1, 64, 50), mesh, remat, blocks)


def test_a_token_sees_itself_and_those_before_it():
  program = make_program()
  key = jax.random.key(0)
  params = {
    name: jax.random.normal(jax.random.fold_in(key, i), size) * 0.3
    for i, (name, (size, _)) in enumerate(param_specs(program.shape).items())
  }
  tokens = np.arange(128)[None] % 50
  changed = tokens.copy()
  changed[0, 100:] = 7
  # The loss at one place is the mean's gradient by its target: ask for all
  # targets before and behind the change.
  loss = jax.jit(program.loss)
  before = jnp.where(jnp.arange(128) < 100, 3, -1)[None]  # -1: no target.
  behind = jnp.where(jnp.arange(128) >= 100, 3, -1)[None]

  def of_targets(tokens, targets):
    none = jnp.full_like(targets, -1)
    return float(loss(params, tokens, none) - loss(params, tokens, targets))

  assert of_targets(tokens, before) == pytest.approx(
    of_targets(changed, before), abs=1e-3
  )
  assert abs(of_targets(tokens, behind) - of_targets(changed, behind)) > 0.01


def test_a_program_without_cycles_is_not_read_as_one_that_has_them(
  tmp_path, monkeypatch
):
  compiled = []

  def compile_run(run, mesh, is_fast):
    compiled.append(is_fast)
    return f"fast: {is_fast}"

  monkeypatch.setattr(calibration, "compile_run", compile_run)
  for is_fast in (True, False, True, False):
    text = calibration.read_program(published.SMALLEST, None, tmp_path, is_fast)
    assert text == f"fast: {is_fast}"
  assert compiled == [True, False]


@pytest.mark.slow
def test_the_smallest_program_is_planned_once(tmp_path):
  pytest.importorskip("libtpu")
  command = ("-m", "benchmarks.calibration", "--only", "smallest")
  command += ("--output", tmp_path, "--programs", tmp_path)
  # The TPU compiler ends at flags of the CPU's.
  found = run(*command, XLA_FLAGS="")
  assert found["v5e"]["runs"] == 1
  low, median, high = found["v5e"]["measured_over_cycles"]
  assert 0 < low == median == high
  (row,) = calibration.read_rows(tmp_path)
  assert row["executed_flops"] > row["counted_flops"] > 0
  (text,) = tmp_path.glob("*.txt.gz")
  (tmp_path / "calibration.jsonl").unlink()
  text.chmod(0o400)
  assert run(*command, XLA_FLAGS="") == found  # From the kept program.
