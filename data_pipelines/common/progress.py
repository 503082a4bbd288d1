"""One line on stderr that says how far, how fast and how long still."""

from __future__ import annotations

import sys
import threading

import tqdm

_TERMINAL_INTERVAL = 0.2  # Seconds between lines that overwrite each other.
_LOG_INTERVAL = 10.0  # Seconds between lines of a log file.


class Progress(tqdm.tqdm):
  """Counts done items; `with` prints the last line at the end."""

  monitor_interval = 0  # No thread that prints when nothing is done.
  is_shown = True  # Of many processes one shows it.

  def __init__(self, label: str, total: int | None, unit: str):
    """Starts the clock.

    Args:
      label: what is done.
      total: None if nobody knows.
      unit: what is counted; bytes, "B", are shown with prefixes.
    """
    self._overwrites = sys.stderr.isatty() and self.is_shown
    count = "{n_fmt}" if total is None else "{n_fmt}/{total_fmt}"
    eta = "" if total is None else "  eta {remaining}"
    super().__init__(
      desc=label,
      total=total,
      unit=f" {unit}",
      unit_scale=unit == "B",
      file=sys.stderr,
      leave=self._overwrites,
      mininterval=_TERMINAL_INTERVAL if self._overwrites else _LOG_INTERVAL,
      miniters=1,
      smoothing=0,
      bar_format="{desc} " + count + "  {rate_noinv_fmt}" + eta,
    )

  advance = tqdm.tqdm.update  # So many more items are done.

  def reach(self, done: int) -> None:
    """So many items are done in all."""
    self.update(done - self.n)

  def display(self, msg: str | None = None, pos: int | None = None) -> bool:
    """Shows the line; a log file gets whole lines, and none at the start."""
    if self._overwrites:
      return super().display(msg, pos)
    if msg is None and hasattr(self, "start_t") and self.is_shown:
      print(self, file=sys.stderr, flush=True)
    return False

  def close(self) -> None:
    """Shows the last line."""
    if not self._overwrites and not self.disable:
      self.display()
    super().close()


Progress.set_lock(threading.RLock())  # Only one process shows it.


def format_seconds(seconds: float) -> str:
  """Formats a duration in seconds as 12s, 3m05s, 4h07m or 3d04h."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  days, hours = divmod(hours, 24)
  if days:
    return f"{days}d{hours:02}h"
  if hours:
    return f"{hours}h{minutes:02}m"
  if minutes:
    return f"{minutes}m{seconds:02}s"
  return f"{seconds}s"
