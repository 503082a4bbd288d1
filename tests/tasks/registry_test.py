"""Where tasks are found, and what is refused before anything is trained."""

import dataclasses
import types

import pytest

from sapiens2_jax.tasks import TaskDefinition, registry
from tests import alpha_task, tiny_task

CONFIG = tiny_task.load_config()
OURS = "albedo matting normal pointmap pose segmentation".split()


@pytest.fixture
def installed(tmp_path, monkeypatch):
  """Installs a package with entry points, by lines."""

  def install(*lines: str) -> None:
    folder = tmp_path / "other_task-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: other_task\nVersion: 1.0\n")
    text = "\n".join(["[sapiens2_jax.tasks]", *lines])
    (folder / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    clear()

  def clear():
    registry._installed.cache_clear()
    registry._imported.cache_clear()

  yield install
  monkeypatch.undo()
  clear()


def test_our_tasks_are_found_and_a_registered_one():
  assert set(registry.task_names()) == {*OURS, "alpha"}
  assert registry.definition("alpha") is alpha_task.TASK
  registry.register_task(alpha_task.TASK)  # Again.
  assert [task.name for task in registry.definitions()] == [
    *("albedo", "alpha"),
    *OURS[1:],
  ]
  assert "alpha" not in registry.probed_task_names()
  with pytest.raises(ValueError, match="unknown task.name 'depht'.*known: alb"):
    registry.definition("depht")
  assert registry.find("depht") is None


def test_a_name_is_given_once():
  other = dataclasses.replace(alpha_task.TASK, note="another")
  with pytest.raises(ValueError, match="'alpha': another one is registered"):
    registry.register_task(other)
  other = dataclasses.replace(alpha_task.TASK, name="normal")
  with pytest.raises(ValueError, match="'normal': there is one of this name"):
    registry.register_task(other)


def test_the_task_of_an_installed_package_is_found(installed, monkeypatch):
  task = dataclasses.replace(alpha_task.TASK, name="other")
  monkeypatch.setattr(alpha_task, "OTHER", task, raising=False)
  installed("other = tests.alpha_task:OTHER")
  assert "other" in registry.task_names()
  assert registry.definition("other") is task


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("gone = no_such_module:TASK", "entry point no_such_module:TASK: No mod"),
    ("gone = tests.alpha_task:TSK", "entry point tests.alpha_task:TSK: .*TSK"),
    ("gone = tests.alpha_task:TASK", "expected a TaskDefinition named 'gone'"),
    ("gone = tests.alpha_task:make_task", "expected a TaskDefinition"),
  ],
)
def test_a_wrong_entry_point_is_named_when_it_is_asked_for(
  line, message, installed
):
  installed(line)
  assert "gone" in registry.task_names()
  with pytest.raises(ValueError, match=f"task 'gone': .*{message}"):
    registry.definition("gone")


def test_an_entry_point_does_not_replace_a_task(installed):
  installed("normal = tests.alpha_task:TASK")
  with pytest.raises(ValueError, match="'normal': the entry point tests.alpha"):
    registry.task_names()


def without(name):
  """The task of the tests as an object that lacks a member."""
  task = alpha_task.make_task(CONFIG)
  members = {
    member: getattr(task, member)
    for member in (*dir(registry.Task), "name", "needs")
    if not member.startswith("_") and member != name
  }
  return types.SimpleNamespace(**members)


def make(monkeypatch, task, **more):
  definition = dataclasses.replace(alpha_task.TASK, make=lambda _: task, **more)
  monkeypatch.setitem(registry._registered, "alpha", definition)
  return registry.make_task(CONFIG)


@pytest.mark.parametrize(
  ("name", "what"),
  [
    ("metric", "A new, empty one."),
    ("draw", "The picture that people look at."),
    ("needs", "an attribute, see Task"),
  ],
)
def test_what_a_task_lacks_is_named_when_it_is_made(name, what, monkeypatch):
  assert make(monkeypatch, without(None)).name == "alpha"
  with pytest.raises(
    ValueError, match=rf"task alpha: .* lacks(.|\n)* {name}:"
  ) as e:
    make(monkeypatch, without(name))
  assert what in str(e.value) and str(e.value).count("\n") == 1


def test_a_metric_and_a_probed_task_are_checked_too(monkeypatch):
  task = without(None)
  with pytest.raises(
    ValueError, match="ProbedTask:\n  view: .*\n  map_size: .*\n  targets: "
  ):
    make(monkeypatch, task, probe=object())
  task.metric = lambda: types.SimpleNamespace(add=None)
  missing = r"metric\(\): .*\n  merge: .*\n  result: "
  with pytest.raises(ValueError, match=missing):
    make(monkeypatch, task)
  task = without(None)
  task.name = "beta"
  with pytest.raises(ValueError, match="'alpha': calls itself 'beta'"):
    make(monkeypatch, task)


def test_definitions_of_our_tasks_are_whole():
  for task in registry.definitions():
    assert isinstance(task, TaskDefinition) and task.score.title
    if task.name in OURS:
      assert task.note and task.truth and task.release, task.name
