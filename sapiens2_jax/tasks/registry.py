"""Which tasks there are.

Ours are the folders beside this file that have a definition.py with `TASK`.
An installed package adds its own by an entry point,

    [project.entry-points."sapiens2_jax.tasks"]
    depth = "depth_task:TASK"

and a program by `register_task`. `TASK` is a `TaskDefinition`. Data workers
unpickle tasks: their classes have to be importable.
"""

import functools
import importlib
import importlib.metadata
import inspect
import pathlib

from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.fields import Schema
from sapiens2_jax.tasks import base
from sapiens2_jax.tasks.base import Task, TaskDefinition

GROUP = "sapiens2_jax.tasks"  # of entry points
_registered: dict[str, TaskDefinition] = {}


def register_task(definition: TaskDefinition) -> None:
  """Adds a task for this process; twice the same changes nothing.

  Raises:
    ValueError: there is another task of its name.
  """
  name = definition.name
  if name in (*_ours(), *_installed()):
    raise ValueError(f"task {name!r}: there is one of this name; take another.")
  if _registered.setdefault(name, definition) is not definition:
    raise ValueError(f"task {name!r}: another one is registered; rename one.")


@functools.cache
def _ours() -> tuple[str, ...]:
  found = pathlib.Path(__file__).parent.glob("*/definition.py")
  return tuple(sorted(path.parent.name for path in found))


@functools.cache
def _installed() -> dict[str, importlib.metadata.EntryPoint]:
  """Entry points by name; imports none of them."""
  found: dict[str, importlib.metadata.EntryPoint] = {}
  for point in importlib.metadata.entry_points(group=GROUP):
    other = found.setdefault(point.name, point)
    if point.name in _ours() or other.value != point.value:
      raise ValueError(
        f"task {point.name!r}: the entry point {point.value} has the name of "
        "another task; uninstall one of the packages."
      )
  return found


def task_names() -> tuple[str, ...]:
  """Names of all tasks, sorted; imports none of them."""
  return tuple(sorted({*_ours(), *_installed(), *_registered}))


@functools.cache
def _imported(name: str) -> TaskDefinition:
  if name in _ours():
    return importlib.import_module(f"{__package__}.{name}.definition").TASK
  point = _installed()[name]
  what = f"task {name!r}: entry point {point.value}"
  try:
    found = point.load()
  except (ImportError, AttributeError) as error:
    raise ValueError(f"{what}: {error}") from error
  if not isinstance(found, TaskDefinition) or found.name != name:
    raise ValueError(f"{what}: expected a TaskDefinition named {name!r}.")
  return found


def definition(name: str) -> TaskDefinition:
  """The task of a name.

  Raises:
    ValueError: no such task; lists those that there are.
  """
  errors.lookup(dict.fromkeys(task_names()), name, "task.name")
  return _registered.get(name) or _imported(name)


def find(name: str) -> TaskDefinition | None:
  """As `definition`; None if there is no such task here."""
  return definition(name) if name in task_names() else None


def config_fields(name: str) -> Schema:
  """Fields of the config that only this task has; none if it is unknown."""
  found = find(name)
  return found.fields if found else {}


def config_labels(name: str) -> str:
  """The field that says which channels the head has; "" if there is none."""
  found = find(name)
  return found.labels if found else ""


def definitions() -> tuple[TaskDefinition, ...]:
  """All of them, by name."""
  return tuple(map(definition, task_names()))


def probed_task_names() -> tuple[str, ...]:
  """Tasks on which frozen features can be measured, by name."""
  return tuple(task.name for task in definitions() if task.probe)


def online_task_names() -> tuple[str, ...]:
  """Tasks on which features are measured while a run trains, by name."""
  return tuple(
    task.name for task in definitions() if task.probe and task.probe.online
  )


def make_task(config: ConfigDict) -> Task:
  """The task that `config.task.name` names.

  Raises:
    ValueError: no such task; lists those that there are. Or it lacks
      something of `Task`, of `Metric`, or of what its definition offers.
  """
  found = definition(config.task.name)
  task = found.make(config)
  _check(found.name, task, base.ProbedTask if found.probe else Task)
  if task.name != found.name:
    raise ValueError(f"task {found.name!r}: calls itself {task.name!r}.")
  _check(f"{found.name}: metric()", task.metric(), base.Metric)
  return task


def _check(name: str, made: object, protocol: type) -> None:
  """Refuses what lacks a member of a protocol, before anything is trained."""
  missing = {}
  for part in protocol.__mro__:
    if part.__module__ != base.__name__:
      continue  # typing.Protocol and what is below.
    for member in (*part.__annotations__, *vars(part)):
      if not member.startswith("_") and not hasattr(made, member):
        found = vars(part).get(member)
        text = found and inspect.getdoc(found)
        missing[member] = text or f"an attribute, see {part.__name__}"
  if missing:
    listed = [
      f"  {member}: {text.splitlines()[0]}" for member, text in missing.items()
    ]
    raise ValueError(
      f"task {name}: {type(made).__name__} lacks members of "
      f"{protocol.__name__}:\n" + "\n".join(listed)
    )
