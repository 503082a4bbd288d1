import pathlib

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from sapiens2_jax.training import profiling


@pytest.fixture(scope="module")
def step_fn():
  @jax.jit
  def step(x):
    with jax.named_scope("student"):
      return jnp.sin(x @ x)

  step(jnp.ones((32, 32)))
  return step


def run(
  workdir, step_fn, start: int, end: int, *, is_error=False, **logging
) -> dict[str, list[int]]:
  """Steps that each trace holds, by its name."""
  config = ConfigDict({"logging": {"every": 2, "profile_steps": (), **logging}})
  profiler = profiling.Profiler(config, str(workdir), start)
  state = jnp.ones((32, 32))
  for step in range(start, end):
    assert profiler.turn(step, state) >= 0
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      state = step_fn(state)
  profiler.stop(end, None if is_error else state)
  return traces(workdir)


def traces(workdir) -> dict[str, list[int]]:
  found = {}
  root = pathlib.Path(workdir, "tensorboard", "plugins", "profile")
  for path in root.glob("*/*.xplane.pb"):
    data = jax.profiler.ProfileData.from_file(str(path))
    events = [e for p in data.planes for line in p.lines for e in line.events]
    steps = [dict(e.stats)["step_num"] for e in events if e.name == "train"]
    found[path.parent.name] = steps
    assert b"student" in path.read_bytes()
  return found


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path, step_fn, capsys):
  found = run(tmp_path, step_fn, 0, 9, profile_steps=(3, 5))
  assert found == {"steps_4_to_5": [3, 4]}
  assert "profile    " in capsys.readouterr().out


@pytest.mark.parametrize(
  "start, end, found",
  [
    (3, 9, {"steps_5_to_6": [4, 5]}),  # The first step of a start compiles.
    (5, 9, {}),
    (0, 4, {"steps_4_to_4": [3]}),  # SIGTERM.
  ],
)
def test_a_run_that_starts_or_ends_within_them(
  tmp_path, step_fn, start, end, found
):
  assert run(tmp_path, step_fn, start, end, profile_steps=(3, 6)) == found


def test_a_file_in_the_workdir_asks_for_the_next_steps(tmp_path, step_fn):
  request = tmp_path / profiling.REQUEST
  request.touch()
  found = run(tmp_path, step_fn, 0, 9, profile_steps=(8, 9))
  assert found == {"steps_3_to_7": [2, 3, 4, 5, 6], "steps_9_to_9": [8]}
  assert not request.exists()


def test_a_workdir_that_is_away_ends_no_run(tmp_path, step_fn, monkeypatch):
  def exists(path):
    raise OSError(path)

  monkeypatch.setattr(profiling.storage, "exists", exists)
  assert not run(tmp_path, step_fn, 0, 5)


def test_a_trace_that_an_error_ends_is_not_kept(tmp_path, step_fn):
  assert not run(tmp_path, step_fn, 0, 5, profile_steps=(3, 8), is_error=True)
  assert not list(tmp_path.iterdir())
  # And the next one can start.
  assert run(tmp_path, step_fn, 0, 5, profile_steps=(3, 5))


def test_a_disk_that_is_full_ends_no_run(tmp_path, step_fn, caplog):
  (tmp_path / "tensorboard").write_text("no directory")
  assert not run(tmp_path, step_fn, 0, 5, profile_steps=(3, 5))
  assert "no profile: " in caplog.text


@pytest.mark.parametrize("name", ["start_trace", "stop_trace"])
def test_a_profiler_that_fails_ends_no_run(
  tmp_path, step_fn, caplog, monkeypatch, name
):
  stop_trace = jax.profiler.stop_trace

  def fail(*_, **__):
    if name == "stop_trace":
      stop_trace()
    raise RuntimeError("busy")

  with monkeypatch.context() as patched:
    patched.setattr(jax.profiler, name, fail)
    assert not run(tmp_path, step_fn, 0, 5, profile_steps=(3, 5))
  assert "no profile: busy" in caplog.text
  assert run(tmp_path, step_fn, 0, 5, profile_steps=(3, 5))


def test_a_libtpu_without_its_tpu_is_said(
  tmp_path, step_fn, caplog, monkeypatch
):
  monkeypatch.setattr(profiling.jax, "__version_info__", (0, 10, 2))
  monkeypatch.setattr(profiling.importlib.util, "find_spec", lambda _: 1)
  before = jax.config.jax_platforms
  jax.config.update("jax_platforms", None)
  try:
    assert not run(tmp_path, step_fn, 0, 5, profile_steps=(3, 5))
  finally:
    jax.config.update("jax_platforms", before)
  assert "set JAX_PLATFORMS=cpu" in caplog.text
