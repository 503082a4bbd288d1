"""Where the wall time of a run went, all its restarts together."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable

from data_pipelines.common import storage
from data_pipelines.common.files import read_json, set_aside, write_json
from data_pipelines.common.progress import format_seconds
from sapiens2_jax.runtime import distributed

FILE = "goodput.json"
NUM_MARKS = 100
# What a process can be doing; see `Timeline`.
PHASES = ("start", "compile", "data", "step", "evaluate", "save")


@dataclasses.dataclass
class Ledger:
  """Seconds by what they were spent on; they add up to the wall time.

  Attributes:
    started: when the run first started, seconds since 1970.
    updated: up to when the time is accounted for.
    starts: how often the run was started.
    seconds: of each of `PHASES`, of `lost` (steps that a restart computed
      again) and of `down` (between the last record of one process and the
      start of the next).
    marks: seconds of `step` when a checkpoint of this step was made.
  """

  started: float
  updated: float
  starts: int = 1
  seconds: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict.fromkeys((*PHASES, "lost", "down"), 0.0)
  )
  marks: dict[int, float] = dataclasses.field(default_factory=lambda: {0: 0.0})

  @property
  def trained(self) -> float:
    """Seconds in which steps advanced or waited for data."""
    return self.seconds["step"] + self.seconds["data"]

  def spend(self, phase: str, seconds: float) -> None:
    """Accounts for the time since `updated`."""
    self.seconds[phase] += seconds
    self.updated += seconds

  def mark(self, step: int) -> None:
    """Remembers that a checkpoint of `step` is made; only the newest ones."""
    self.marks[step] = self.seconds["step"]
    self.marks = dict(sorted(self.marks.items())[-NUM_MARKS:])

  def resume(self, step: int, now: float) -> None:
    """Starts again from the checkpoint of `step`.

    What was computed after it is lost. A checkpoint that has no mark counts
    as the newest: nothing is known to be lost.
    """
    kept = self.marks.get(step, self.seconds["step"])
    self.seconds["lost"] += self.seconds["step"] - kept
    self.seconds["step"] = kept
    self.marks = {s: at for s, at in self.marks.items() if s <= step}
    self.marks[step] = kept
    self.spend("down", max(0.0, now - self.updated))
    self.starts += 1

  def line(self) -> str:
    """Shares of the wall time, e.g. `93% of 2h10m in 3 starts: ...`."""
    total = sum(self.seconds.values())
    share = {k: part / max(total, 1e-9) for k, part in self.seconds.items()}
    others = "  ".join(
      f"{name} {part:.0%}" for name, part in share.items() if name != "step"
    )
    starts = f"{self.starts} start{'s' * (self.starts > 1)}"
    return (
      f"goodput    {share['step']:.0%} of {format_seconds(total)} in {starts}; "
      f"{others}"
    )


def load(workdir: str) -> Ledger | None:
  """The ledger of a run that was started before.

  One that is damaged is set aside: then the run's time is counted anew.
  """
  path = os.path.join(workdir, FILE)
  try:
    fields = read_json(path)
    seconds = {k: float(x) for k, x in fields["seconds"].items()}
    fields["seconds"] = Ledger(0, 0).seconds | seconds
    marks = {int(step): float(at) for step, at in fields["marks"].items()}
    fields["marks"] = marks
    for name in ("started", "updated", "starts"):
      fields[name] + 0  # Are numbers.
    return Ledger(**fields)
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    if isinstance(error, OSError) and storage.is_remote(path):
      raise  # Of the network, not of the file.
    set_aside(path, " ".join(repr(error).split()))
    return None


def save(ledger: Ledger, workdir: str) -> None:
  """Writes the ledger, whole or not at all; only process 0 does."""
  if distributed.is_writer():
    write_json(os.path.join(workdir, FILE), dataclasses.asdict(ledger))


class Timeline:
  """What the process is doing, since when, and how long it did what.

  The loop says what it turns to; the watchdog and the ledger read it.

  Attributes:
    phase, step: what it is doing.
    has_stepped: whether this process has begun a step.
  """

  def __init__(
    self,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
  ):
    """Starts in phase `start`.

    Args:
      clock: seconds; never goes back.
      wall: seconds since 1970; may be set back.
    """
    self._clock = clock
    self.began = wall()
    self.ledger = Ledger(self.began, self.began)
    self.phase, self.step, self.has_stepped = "start", 0, False
    self._since = clock()

  def enter(self, phase: str, step: int) -> None:
    """Ends what was done until now and turns to `phase` of `step`."""
    now = self._clock()
    self.ledger.spend(self.phase, now - self._since)
    self.phase, self.step, self._since = phase, step, now
    self.has_stepped |= phase == "step"

  def unchanged(self) -> float:
    """Seconds since the process turned to what it does."""
    return self._clock() - self._since

  def resume(self, earlier: Ledger | None, step: int) -> None:
    """Goes on in the ledger of the earlier processes of this run."""
    if earlier is None:
      return
    spent = self.ledger.seconds
    earlier.resume(step, self.began)
    for phase in PHASES:
      earlier.spend(phase, spent[phase])
    self.ledger = earlier
