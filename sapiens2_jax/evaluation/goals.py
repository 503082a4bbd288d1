"""Which of two numbers in metrics.jsonl is better, by what defines them.

Losses fall; numbers of evaluations and probes are their tasks' to say.
"""

import fnmatch

from sapiens2_jax.evaluation import knn
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.evaluate import COUNTS
from sapiens2_jax.training.best import Goal, read_goal

_EVALUATION, _PROBE = "eval_", "probe_"


def find_goal(name: str, task: str | None) -> Goal | None:
  """What is best of a number; None if nothing says so.

  Args:
    name: in metrics.jsonl.
    task: that the run fine-tunes for; None: it pretrains.
  """
  is_higher = None
  if name == "loss" or name.startswith("loss_"):
    is_higher = False
  elif name.startswith(_EVALUATION) and task:
    is_higher = _of_task(name.removeprefix(_EVALUATION), task)
  elif name.startswith(_PROBE):
    is_higher = _of_probe(name.removeprefix(_PROBE))
  return None if is_higher is None else Goal(name, 1 if is_higher else -1)


def require_goal(text: str, task: str | None) -> Goal:
  """Reads "probe_normal_deg", or "accuracy max" of what nothing is known.

  Raises:
    ValueError: nothing says which is better, or what is said is wrong.
  """
  name, _, mode = text.partition(" ")
  found = find_goal(name, task)
  if not mode:
    if found is None:
      raise ValueError(
        f"{name}: nothing says whether the largest or the smallest is best; "
        f'say it: "{name} max" or "{name} min"'
      )
    return found
  goal = read_goal(text)
  if found and found != goal:
    better = "lower" if found.sign < 0 else "higher"
    raise ValueError(f'"{text}": of {name} the {better} is better')
  return goal


def _of_task(key: str, task: str) -> bool | None:
  known = registry.find(task)
  if known is None or key in COUNTS:
    return None
  if key == known.score.key:
    return known.score.higher_is_better
  for pattern, is_higher in known.better.items():
    if fnmatch.fnmatchcase(key, pattern):
      return is_higher
  return None


def _of_probe(key: str) -> bool | None:
  if key in knn.HIGHER_IS_BETTER:
    return True
  for task in registry.definitions():
    online = task.probe and task.probe.online
    if online and online.key == key:
      return online.higher_is_better
  return None
