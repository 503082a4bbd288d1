"""What a run starts from: runs, weights of encoders and of task models."""

import dataclasses
import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import weights
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.parallel import rules
from sapiens2_jax.training import matching, optimizer, starting
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import by_path
from sapiens2_jax.validation import read_config
from tests import tiny, tiny_task
from tests.interop import runs, samples, task_samples

STEP = 7
# The tiny sizes with patches of 4 x 4 pixels, without and with windows.
ARCHITECTURES["fine"] = dataclasses.replace(
  ARCHITECTURES["tiny"], name="fine", patch_size=4
)
ARCHITECTURES["fine_4k"] = dataclasses.replace(
  ARCHITECTURES["tiny_4k"], name="fine_4k"
)


class Run:
  """A run that has not started.

  Attributes:
    drawn: the state of fresh weights.
  """

  def __init__(self, workdir, config, num_devices=1):
    self._workdir, self._config = str(workdir), config
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:num_devices])
    self._objective = build_objective(config)
    self._tx = optimizer.make_optimizer(config.optim)
    self.abstract = state_lib.abstract_state(
      config, self._objective, self._tx, mesh
    )

  @functools.cached_property
  def drawn(self):
    seed = self._config.seed
    given = (seed, self._objective, self._tx, self.abstract)
    return state_lib.init_state(*given)

  def _open(self):
    return Checkpointer(self._workdir, self._config, read_config)

  def save(self):
    """Saves a checkpoint of `trained` numbers; returns them."""
    state, checkpointer = trained(self.drawn), self._open()
    checkpointer.save(state, STEP, 0)
    checkpointer.close()
    return state

  def start(self):
    checkpointer = self._open()
    try:
      state, next_example = starting.restore_or_init(
        *(self._objective, checkpointer, self._tx, self.abstract),
        *(open_parts, load_pretrained),
      )
    finally:
      checkpointer.close()
    assert next_example == 0
    assert rules.of_arrays(state) == rules.of_arrays(self.abstract)
    return state


def start(workdir, config, num_devices=1):
  """The state that a run starts with, and a freshly drawn one."""
  run = Run(workdir, config, num_devices)
  return types.SimpleNamespace(state=run.start(), drawn=run.drawn)


def trained(drawn):
  """A state in which all numbers have moved, each tree by its own amount."""
  moved = {
    name: jax.tree.map(lambda x, by=by: x + jnp.asarray(by, x.dtype), tree)
    for by, (name, tree) in enumerate(vars(drawn).items(), 1)
    if name in ("params", "teacher_state", "opt_state")
  }
  return drawn.replace(step=jnp.asarray(STEP, jnp.int32), **moved)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
  """Workdir and state of a run of pretraining."""
  workdir = tmp_path_factory.mktemp("pretrained") / "run"
  config = tiny.load_config("seed=5")
  return workdir, Run(workdir, config).save()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
  """Workdir and state of a run of the task of the tests."""
  workdir = tmp_path_factory.mktemp("tuned") / "run"
  config = tiny_task.load_config("seed=5")
  return workdir, Run(workdir, config).save()


def assert_equal(found, expected):
  found, expected = jax.device_get((found, expected))
  chex.assert_trees_all_equal(found, expected)


def assert_starts(found, drawn):
  """Neither step nor key are those of the other run."""
  assert int(found.step) == int(found.nonfinite_total) == 0
  assert_equal(found.rng, drawn.rng)


@pytest.mark.parametrize(
  "mesh",
  [
    (1, ("model.init_parts=run",)),
    (8, ("mesh.data=2", "mesh.fsdp=4")),
  ],
)
def test_a_run_goes_on_where_another_one_ended(
  tmp_path, pretrained, mesh, capsys
):
  (num_devices, options), (workdir, source) = mesh, pretrained
  config = tiny.load_config(
    f"model.init_from={workdir}", *options, num_devices=num_devices
  )
  begun = start(tmp_path / "run", config, num_devices)
  assert_starts(begun.state, begun.drawn)
  for name in ("params", "teacher_state", "opt_state"):
    assert_equal(getattr(begun.state, name), getattr(source, name))
  said = capsys.readouterr().out
  assert f"weights    from {workdir}, step {STEP}\n" in said
  size = sum(x.size for x in jax.tree.leaves(source.params["encoder"]))
  (line,) = (x for x in said.splitlines() if "matched  encoder" in x)
  assert line.split()[-1] == f"{size:,}"
  assert "new      nothing" in said and "unused   nothing" in said


def test_what_does_not_fit_starts_fresh_in_student_and_teacher(
  tmp_path, pretrained, capsys
):
  workdir, source = pretrained
  config = tiny.load_config(
    f"model.init_from={workdir}", "model.prototypes=48", "objective.w_gram=1.0"
  )
  begun = start(tmp_path / "run", config)
  params, drawn = by_path(begun.state.params), by_path(begun.drawn.params)
  for name, x in by_path(source.params).items():
    is_new = name == "head/prototypes/kernel"
    assert_equal(params[name], drawn[name] if is_new else x)
  state = begun.state.teacher_state
  for name, x in by_path(source.teacher_state["teacher"]).items():
    is_new = name == "head/prototypes/kernel"
    assert_equal(by_path(state["teacher"])[name], drawn[name] if is_new else x)
  assert_equal(state["center"], np.zeros(48, np.float32))
  # Held on to is what the teacher is, not what the student is.
  assert_equal(
    state["gram_teacher"], source.teacher_state["teacher"]["encoder"]
  )
  assert_equal(begun.state.opt_state, begun.drawn.opt_state)
  said = capsys.readouterr().out
  assert "prototypes\n" in said and "whole or not at all" in said


def test_at_4k_the_window_stage_alone_is_new(tmp_path, capsys):
  workdir = tmp_path / "fine"
  source = Run(workdir, tiny.load_config("seed=5", "model.size=fine")).save()
  config = tiny.load_config("model.size=fine_4k", f"model.init_from={workdir}")
  begun = start(tmp_path / "run", config)
  encoder, drawn = (x.params["encoder"] for x in (begun.state, begun.drawn))
  expected = source.params["encoder"] | {"window_stage": drawn["window_stage"]}
  assert_equal(encoder, expected)
  teacher = begun.state.teacher_state["teacher"]["encoder"]
  expected = source.teacher_state["teacher"]["encoder"]
  expected = expected | {"window_stage": drawn["window_stage"]}
  assert_equal(teacher, expected)
  decoder, old = begun.state.params["decoder"], source.params["decoder"]
  assert_equal(
    decoder, old | {"predict": begun.drawn.params["decoder"]["predict"]}
  )
  assert_equal(begun.state.params["head"], source.params["head"])
  assert_equal(
    begun.state.teacher_state["center"], source.teacher_state["center"]
  )
  assert "new      encoder" in capsys.readouterr().out


def test_the_encoder_alone_is_the_teachers_for_both(
  tmp_path, pretrained, capsys
):
  workdir, source = pretrained
  config = tiny.load_config(
    f"model.init_from={workdir}", "model.init_parts=encoder"
  )
  begun = start(tmp_path / "run", config)
  encoder = source.teacher_state["teacher"]["encoder"]
  assert_equal(begun.state.params, begun.drawn.params | {"encoder": encoder})
  teacher = begun.drawn.teacher_state["teacher"] | {"encoder": encoder}
  assert_equal(begun.state.teacher_state["teacher"], teacher)
  assert_equal(begun.state.opt_state, begun.drawn.opt_state)
  said = capsys.readouterr().out
  assert f"from {workdir}, step {STEP}, teacher" in said
  assert "unused   student's encoder" in said


def test_a_task_takes_the_teachers_encoder(tmp_path, pretrained, capsys):
  workdir, source = pretrained
  config = tiny_task.load_config(f"model.init_from={workdir}")
  begun = start(tmp_path / "run", config)
  encoder = source.teacher_state["teacher"]["encoder"]
  assert_equal(begun.state.params, begun.drawn.params | {"encoder": encoder})
  assert begun.state.teacher_state == {}
  said = capsys.readouterr().out
  assert "new      head" in said and "unused   decoder" in said


def test_a_task_goes_on_with_its_head(tmp_path, tuned):
  workdir, source = tuned
  config = tiny_task.load_config(f"model.init_from={workdir}")
  begun = start(tmp_path / "run", config)
  assert_starts(begun.state, begun.drawn)
  assert_equal(begun.state.params, source.params)
  assert_equal(begun.state.opt_state, source.opt_state)


def test_pretraining_takes_the_encoder_of_a_task(tmp_path, tuned, capsys):
  workdir, source = tuned
  begun = start(
    tmp_path / "run", tiny.load_config(f"model.init_from={workdir}")
  )
  encoder = source.params["encoder"]
  assert_equal(begun.state.params, begun.drawn.params | {"encoder": encoder})
  assert_equal(begun.state.teacher_state["teacher"]["encoder"], encoder)
  assert "unused   head" in capsys.readouterr().out


def test_released_weights_of_a_task_keep_their_head(tmp_path):
  named = task_samples.arrays(task_samples.HEADS["normal"])
  file = samples.write(tmp_path / "released.safetensors", named)
  config = runs.task_config("normal")
  config.model.init_from = str(file)
  assert not validation.validate(config, 1)
  begun = start(tmp_path / "run", config)
  assert_equal(begun.state.params, runs.task_params("normal"))
  assert_equal(begun.state.opt_state, begun.drawn.opt_state)


@pytest.fixture
def released(tmp_path):
  """A config of normals that starts from an import of a released file."""
  named = task_samples.arrays(task_samples.HEADS["normal"])
  file = samples.write(tmp_path / "released.safetensors", named)
  found = weights.find_weights(file)
  imported = tmp_path / "imported"
  weights.write_import(imported, weights.read_weights(found), found)
  config = runs.task_config("normal")
  config.model.update(init_from=str(imported), init_head=True)
  return config


def test_an_imported_task_is_taken_with_its_head(tmp_path, released):
  assert not validation.validate(released, 1)
  begun = start(tmp_path / "run", released)
  assert_equal(begun.state.params, runs.task_params("normal"))


@pytest.mark.parametrize(
  ("group", "change", "message"),
  [
    ("head", {"conv_channels": (9, 6)}, r"head.conv_channels=\(8, 6\), exp"),
    ("task", {"name": "albedo"}, "has task.name=normal, expected albedo. Set"),
  ],
)
def test_a_head_that_must_fit_and_does_not_is_named(
  tmp_path, released, group, change, message
):
  released[group].update(change)
  if group == "head":
    # Without the field it starts fresh where it is another one.
    released.model.init_head = False
    begun = start(tmp_path / "fresh", released)
    head = begun.drawn.params["head"]["conv_0"]
    assert_equal(begun.state.params["head"]["conv_0"], head)
    released.model.init_head = True
  with pytest.raises(ValueError, match=message):
    Run(tmp_path / "run", released).start()


def test_a_head_that_must_fit_is_asked_of_a_task(tmp_path, released, tuned):
  file = samples.write(
    tmp_path / "toy.safetensors", samples.arrays(samples.TOY)
  )
  released.model.init_from = str(file)
  with pytest.raises(ValueError, match="toy.safetensors holds no head"):
    Run(tmp_path / "run", released).start()
  for change, message in (
    ({"init_from": ""}, "needs model.init_from"),
    ({"init_parts": "encoder"}, "takes no head; set it to all"),
  ):
    config = released.copy_and_resolve_references()
    config.model.update(change)
    assert message in str(validation.validate(config, 1))


def test_arrays_that_are_needed_are_named_with_their_shapes(tmp_path, released):
  parts = open_parts(released)
  name = "params/head/predict/conv/bias"
  other = jax.ShapeDtypeStruct((5,), jnp.float32)
  arrays = dict(parts.arrays) | {name: other}
  del arrays["params/head/predict/conv/kernel"]
  parts = dataclasses.replace(parts, arrays=arrays)
  abstract = Run(tmp_path / "run", released).abstract
  with pytest.raises(ValueError, match=r"conv/bias: \(5,\), expected \(3,\)"):
    matching.match(parts, abstract, "tiny")
  with pytest.raises(ValueError, match="conv/kernel: missing"):
    matching.match(parts, abstract, "tiny")


def test_weights_of_an_encoder_start_student_and_teacher(tmp_path, capsys):
  file = samples.write(
    tmp_path / "toy.safetensors", samples.arrays(samples.TOY)
  )
  config = tiny.load_config("model.size=toy", f"model.init_from={file}")
  begun = start(tmp_path / "run", config)
  assert_equal(begun.state.params["encoder"], runs.toy_params())
  teacher = begun.state.teacher_state["teacher"]
  assert_equal(teacher["encoder"], runs.toy_params())
  assert_equal(teacher["head"], begun.drawn.params["head"])
  assert f"weights    from {file}\n" in capsys.readouterr().out


def test_the_runs_own_checkpoint_goes_first(tmp_path, pretrained, capsys):
  workdir, _ = pretrained
  config = tiny.load_config(f"model.init_from={workdir}")
  run = Run(tmp_path / "run", config)
  own = run.save()
  assert_equal(run.start(), own)
  assert "weights" not in capsys.readouterr().out


def test_what_cannot_be_started_from_is_named(tmp_path, pretrained):
  workdir, _ = pretrained
  wrong = {
    "model.size=toy": "step 7 holds a tiny, expected model.size=toy",
    f"model.init_from={tmp_path / 'gone'}": "model.init_from: .*gone",
  }
  for number, (option, message) in enumerate(wrong.items()):
    config = tiny.load_config(f"model.init_from={workdir}", option)
    with pytest.raises(ValueError, match=message):
      Run(tmp_path / str(number), config).start()
