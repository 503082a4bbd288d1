"""An experiment of several commands, one after another, continued by itself."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from data_pipelines.common.files import write_file
from data_pipelines.common.progress import format_seconds


@dataclasses.dataclass(frozen=True)
class Phase:
  """A command that is quick when there is nothing left to do."""

  title: str
  arguments: tuple[str, ...]  # of Python
  done: str = ""  # what it writes last, if it would do all of it again
  needs: str = ""  # what a run that was stopped has not written
  since: str = ""  # if this file is newer than `done`, it is not done

  @property
  def is_done(self) -> bool:
    if not self.done or not os.path.exists(self.done):
      return False
    made = os.path.getmtime
    return not self.since or made(self.done) > made(self.since)


class FailedPhase(ValueError):
  """A command of a phase ended with another code than 0."""

  def __init__(self, message: str, code: int):
    super().__init__(message)
    self.code = code


def synthetic_people(
  output: str, count: int, seed: int, size: str, empty: float = 0.0
) -> Phase:
  """Makes a corpus of `count` images of `size`, HEIGHTxWIDTH.

  A share of them, `empty`, shows nobody.
  """
  return Phase(
    f"{count} images of synthetic people ({os.path.basename(output)})",
    (
      *("-m", "data_pipelines.synthetic", "--output", output),
      *("--count", str(count), "--seed", str(seed), "--size", size),
      *("--workers", str(os.cpu_count()), "--empty", str(empty)),
    ),
  )


def spread(values: list[float]) -> tuple[float, float]:
  """Mean, and half of the range."""
  return statistics.fmean(values), (max(values) - min(values)) / 2


def mean_std(values: list[float]) -> str:
  """Mean and, of several, standard deviation, as tables show them."""
  mean = f"{statistics.fmean(values):.4g}"
  return mean + (f" ± {statistics.stdev(values):.2g}" if values[1:] else "")


def compare(
  ours: list[float], others: list[float], higher_is_better: bool
) -> str:
  """Which is better: "better", "worse", or "undecided" if seeds overlap."""
  sign = 1 if higher_is_better else -1
  ours, others = ([sign * value for value in side] for side in (ours, others))
  if min(ours) > max(others):
    return "better"
  return "worse" if max(ours) < min(others) else "undecided"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
  """Lines of a table in Markdown."""
  lines = [
    "".join(f"| {cell}".rstrip() + " " for cell in row) + "|"
    for row in (header, *rows)
  ]
  return [lines[0], "|---" * len(header) + "|", *lines[1:]]


def _stopped(missing: str) -> ValueError:
  return ValueError(
    f"no {missing}: this run was stopped; the same command continues"
  )


def run_phases(phases: list[Phase]) -> None:
  """Runs what is not done, in order.

  Raises:
    FailedPhase: a command failed; says which.
    ValueError: one was stopped: SIGTERM saves and ends with code 0.
  """
  start = time.monotonic()
  # Large pages: on CPU, XLA asks for fresh memory at every step.
  environment = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}
  for number, phase in enumerate(phases, 1):
    is_done = phase.is_done
    elapsed = format_seconds(time.monotonic() - start)
    print(
      f"\n[{elapsed}] {number}/{len(phases)} {phase.title}"
      + (": done" if is_done else ""),
      flush=True,
    )
    if is_done:
      continue
    if phase.needs and not os.path.exists(phase.needs):
      raise _stopped(phase.needs)
    code = subprocess.run(
      [sys.executable, *phase.arguments], env=environment
    ).returncode
    if code:
      raise FailedPhase(
        f"exit code {code} of python {' '.join(phase.arguments)}; the same "
        "command continues",
        code,
      )
    if phase.done and not os.path.exists(phase.done):
      raise _stopped(phase.done)


def run_experiment(
  file: str,
  make_phases: Callable[[str], list[Phase]],
  summarize: Callable[[str], dict[str, bytes]],
  output: str,
) -> None:
  """Runs all phases of an experiment and writes what they measured.

  Args:
    file: of the experiment.
    make_phases: everything up to the summary, for an output folder.
    summarize: what was measured there, as files: name, content. The text of
      FILE.md is shown too, and that of FILE.json, if it is there, in the last
      line.
    output: the folder.

  Raises:
    ValueError: as `run_phases`.
  """
  run_phases(make_phases(output))
  contents = summarize(output)
  summary = pathlib.Path(file).stem + ".md"
  for name, content in contents.items():
    write_file(os.path.join(output, name), content)
  print(f"\n{contents[summary].decode()}")
  print(f"results    {os.path.join(output, summary)}")
  if numbers := contents.get(f"{pathlib.Path(file).stem}.json"):
    print("RESULT " + json.dumps(json.loads(numbers)))
