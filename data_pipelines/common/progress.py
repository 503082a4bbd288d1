"""One line on stderr that says how far, how fast and how long still."""

from __future__ import annotations

import sys
import time

_TERMINAL_INTERVAL = 0.2  # Seconds between lines that overwrite each other.
_LOG_INTERVAL = 10.0  # Seconds between lines of a log file.


class Progress:
  """Counts done items; `with` prints the last line at the end."""

  def __init__(self, label: str, total: int | None, unit: str):
    """Starts the clock.

    Args:
      label: what is done.
      total: items to do; None if nobody knows.
      unit: of the items.
    """
    self._label = label
    self._total = total
    self._unit = unit
    self._done = 0
    self._overwrites = sys.stderr.isatty()
    self._interval = _TERMINAL_INTERVAL if self._overwrites else _LOG_INTERVAL
    self._start = time.monotonic()
    self._printed = self._start

  def __enter__(self) -> Progress:
    return self

  def __exit__(self, *unused) -> None:
    self._print("\n")

  def advance(self, count: int = 1) -> None:
    """So many more items are done."""
    self._done += count
    if time.monotonic() - self._printed >= self._interval:
      self._print("" if self._overwrites else "\n")

  def reach(self, done: int) -> None:
    """So many items are done in all."""
    self.advance(done - self._done)

  def _print(self, end: str) -> None:
    self._printed = time.monotonic()
    seconds = self._printed - self._start
    rate = self._done / seconds if seconds > 0 else 0.0
    eta = "-"
    if rate and self._total is not None:
      eta = format_seconds((self._total - self._done) / rate)
    total = "" if self._total is None else f"/{self._total}"
    start = "\r\x1b[K" if self._overwrites else ""
    sys.stderr.write(
      f"{start}{self._label} {self._done}{total}  "
      f"{rate:.1f} {self._unit}/s  eta {eta}{end}"
    )
    sys.stderr.flush()


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
