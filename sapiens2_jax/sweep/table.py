"""The table of a sweep: redrawn on a terminal, lines of news elsewhere."""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.sweep.status import RUNNING, WAITING, Status

_LOG_INTERVAL = 30.0  # Seconds between lines about one running point.
_HEADER = ("point", "state", "step", "loss", "img/s", "eta")


def cells(name: str, status: Status, num_steps: int) -> tuple[str, ...]:
  """One row; unknown values are `-`."""

  def text(value: float | None, shown: Callable[[float], str]) -> str:
    return "-" if value is None else shown(value)

  return (
    name,
    status.state,
    f"{status.step}/{num_steps}",
    text(status.loss, "{:.3f}".format),
    text(status.images_per_second, "{:.1f}".format),
    text(status.eta, format_seconds),
  )


def format_table(rows: list[tuple[str, ...]]) -> list[str]:
  """Aligned lines under a header; numbers to the right."""
  rows = [_HEADER, *rows]
  widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
  return [
    "  ".join(
      f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
      for i, (cell, width) in enumerate(zip(row, widths))
    ).rstrip()
    for row in rows
  ]


def window(lines: list[str], height: int, focus: int) -> list[str]:
  """Header and as many rows as fit, around the row `focus`."""
  header, *rows = lines
  count = max(1, height - 2)
  first = max(0, min(focus - count // 2, len(rows) - count))
  return [header, *rows[first : first + count]]


class Table:
  """Shows all points whenever `show` is called."""

  def __init__(
    self,
    names: list[str],
    num_steps: list[int],
    file: TextIO,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._names, self._num_steps, self._file = names, num_steps, file
    self._clock = clock
    self._redraws = file.isatty()
    self._drawn = 0  # Lines that the next drawing overwrites.
    self._told: dict[int, tuple[str, float]] = {}

  def show(self, statuses: list[Status]) -> None:
    rows = [cells(*row) for row in zip(self._names, statuses, self._num_steps)]
    if self._redraws:
      self._redraw(rows, statuses)
    else:
      self._tell_news(rows, statuses)
    self._file.flush()

  def _redraw(self, rows, statuses: list[Status]) -> None:
    columns, height = shutil.get_terminal_size()
    running = (i for i, s in enumerate(statuses) if s.state == RUNNING)
    focus = next(running, 0)
    lines = window(format_table(rows), height, focus)
    if self._drawn:
      self._file.write(f"\x1b[{self._drawn}F\x1b[J")
    # A line that is broken in two would not be overwritten whole.
    self._file.writelines(line[: columns - 1] + "\n" for line in lines)
    self._drawn = len(lines)

  def _tell_news(self, rows, statuses: list[Status]) -> None:
    now = self._clock()
    for i, (row, status) in enumerate(zip(rows, statuses)):
      state, told_at = self._told.get(i, (WAITING, now))
      is_due = status.state == RUNNING and now - told_at >= _LOG_INTERVAL
      if status.state != state or is_due:
        self._told[i] = (status.state, now)
        name, state, step, loss, speed, eta = row
        self._file.write(
          f"{name}: {state}  step {step}  loss {loss}  {speed} img/s  "
          f"eta {eta}\n"
        )
