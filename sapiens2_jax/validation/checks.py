"""What fields of one kind must be, beyond a range."""

from collections.abc import Callable
from typing import Any

from sapiens2_jax.fields import Check, must
from sapiens2_jax.pretrain import stages
from sapiens2_jax.training.best import read_goal


def _is_address(text: str) -> bool:
  host, _, port = text.rpartition(":")
  return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _are_steps(steps: tuple) -> bool:
  if not steps:
    return True
  return (
    set(map(type, steps)) == {int}
    and len(steps) == 2
    and (1 <= steps[0] < steps[1])
  )


def _readable(read: Callable[[str], Any]) -> Check:
  """A text that `read` reads; else what its ValueError says is wrong."""

  def check(_: str, value: str) -> str:
    try:
      read(value)
    except ValueError as error:
      return str(error)
    return ""

  return check


GOAL = _readable(read_goal)
STAGES = _readable(stages.read)
ADDRESS = must("HOST:PORT", lambda text: not text or _is_address(text))
AXIS = must("-1 or at least 1", lambda n: n == -1 or 1 <= n <= 2**20)
STEPS = must(
  "empty, or two numbers of steps (first, last) with 1 <= first < last",
  _are_steps,
)
