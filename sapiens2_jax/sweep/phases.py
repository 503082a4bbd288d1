"""An experiment of several commands, one after another, continued by itself."""

import argparse
import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from data_pipelines.common import storage
from data_pipelines.common.files import write_file
from data_pipelines.common.progress import format_seconds


@dataclasses.dataclass(frozen=True)
class Phase:
  """A command that is quick when there is nothing left to do."""

  title: str
  arguments: tuple[str, ...]  # of Python
  done: str = ""  # what it writes last, if it would do all of it again
  needs: str = ""  # what a run that was stopped has not written


def synthetic_people(output: str, count: int, seed: int, size: str) -> Phase:
  """Makes a corpus of `count` images of `size`, HEIGHTxWIDTH."""
  return Phase(
    f"{count} images of synthetic people ({os.path.basename(output)})",
    (
      *("-m", "data_pipelines.synthetic", "--output", output),
      *("--count", str(count), "--seed", str(seed), "--size", size),
      *("--workers", str(os.cpu_count())),
    ),
  )


def spread(values: list[float]) -> tuple[float, float]:
  """Mean, and half of the range."""
  return statistics.fmean(values), (max(values) - min(values)) / 2


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


def run_phases(phases: list[Phase], root: str | os.PathLike) -> None:
  """Runs what is not done, in order, in the project's root.

  Raises:
    ValueError: a command failed, or an earlier one was stopped; says which.
  """
  start = time.monotonic()
  # Large pages: on CPU, XLA asks for fresh memory at every step.
  environment = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}
  for number, phase in enumerate(phases, 1):
    is_done = phase.done and os.path.exists(phase.done)
    elapsed = format_seconds(time.monotonic() - start)
    print(
      f"\n[{elapsed}] {number}/{len(phases)} {phase.title}"
      + (": done" if is_done else ""),
      flush=True,
    )
    if is_done:
      continue
    if phase.needs and not os.path.exists(phase.needs):
      raise ValueError(
        f"no {phase.needs}: this run was stopped; the same command continues"
      )
    code = subprocess.run(
      [sys.executable, *phase.arguments], cwd=root, env=environment
    ).returncode
    if code:
      raise ValueError(
        f"exit code {code} of python {' '.join(phase.arguments)}; the same "
        "command of the experiment continues"
      )


def run_experiment(
  file: str,
  description: str,
  make_phases: Callable[[str], list[Phase]],
  summarize: Callable[[str], dict[str, bytes]],
) -> None:
  """The command of an experiment: takes --output, ends with code 1 if it fails.

  Args:
    file: of the experiment, in a folder of the project's root.
    description: of it, a line.
    make_phases: everything up to the summary, for an output folder.
    summarize: what was measured there, as files: name, content. The text of
      FILE.md is shown too.
  """
  path = pathlib.Path(file).resolve()
  # Not flags of absl: launch/sweep.py, which may load the file, has its own.
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("--output", required=True, help="folder for all of it")
  output = parser.parse_args().output
  if storage.is_remote(output):
    parser.error(f"--output={output}: expected a folder on a disk")
  output = os.path.abspath(output)
  try:
    run_phases(make_phases(output), path.parents[1])
    contents = summarize(output)
  except ValueError as error:
    sys.exit(f"{path.stem}: {error}")
  summary = path.stem + ".md"
  for name, content in contents.items():
    write_file(os.path.join(output, name), content)
  print(f"\n{contents[summary].decode()}")
  print(f"results    {os.path.join(output, summary)}")
