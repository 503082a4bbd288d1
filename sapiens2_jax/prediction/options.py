"""Options that a task has beside those of the command."""

from collections.abc import Mapping
from typing import Any

from sapiens2_jax import errors
from sapiens2_jax.fields import Field
from sapiens2_jax.tasks import TaskDefinition, registry
from sapiens2_jax.tasks.output import Output


def output_class(task: TaskDefinition) -> type[Output]:
  return task.output or Output


def all_options() -> dict[str, tuple[Field, list[str]]]:
  """Options of all tasks by name, and the tasks that have each.

  Raises:
    ValueError: two tasks mean different types by one name.
  """
  found: dict[str, tuple[Field, list[str]]] = {}
  for task in registry.definitions():
    for name, field in output_class(task).options.items():
      other, tasks = found.setdefault(name, (field, []))
      if type(field.default) is not type(other.default):
        raise ValueError(
          f"task {task.name}: its option {name!r} is of another type than that "
          f"of task {tasks[0]}; rename one."
        )
      tasks.append(task.name)
  return found


def read_options(
  task: TaskDefinition, given: Mapping[str, Any]
) -> dict[str, Any]:
  """Values of all options of a task.

  Args:
    task: of the model.
    given: what a user set, text or bool, by name.

  Raises:
    ValueError: lists each that the task has not, or that has no such value.
  """
  schema = output_class(task).options
  chosen = {name: field.default for name, field in schema.items()}
  problems = []
  for name, value in given.items():
    shown = f"--{name}={value}"
    if name not in schema:
      known = ", ".join(f"--{other}" for other in schema) or "none"
      problems.append(
        f"{shown}: task {task.name} has no such option; it has {known}"
        + errors.nearest(name, schema)
      )
      continue
    try:
      chosen[name] = convert(value, schema[name].default)
      wrong = schema[name].check(name, chosen[name])
    except ValueError:
      kind = type(schema[name].default).__name__
      wrong = f"expected {'numbers' if kind == 'tuple' else kind}"
    if wrong:
      problems.append(f"{shown}: {wrong}")
  if problems:
    raise ValueError("\n".join(problems))
  return chosen


def convert(value: Any, default: Any) -> Any:
  """A flag's text as a value of the type of a default; tuples are of ints."""
  if isinstance(value, bool):
    return value
  if isinstance(default, tuple):
    return tuple(int(part) for part in value.split(",")) if value else ()
  return type(default)(value)
