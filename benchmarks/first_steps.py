r"""First steps of real sizes at 1024 x 768 on this machine.

Run:    python benchmarks/first_steps.py --output DIR [--sizes 0.1b,0.4b]
Needs:  torch, transformers; 30 GB of disk and, for 0.8b, 24 GB of memory and 12
        GB of swap; two hours of one core; 220 MB of downloads, once

For each size: steps of what train.py runs on one batch of photographs, with
two global and four local crops, a checkpoint after the first; the second one
again in a new process, from that checkpoint, whose arrays must be equal bit for
bit; and an export that transformers loads. At one size a step of each task
follows, from that export, on synthetic people. Each part is a process of its
own and leaves a file of results: the same command continues what was stopped.
A size of which a step does not fit the memory says so and takes none.
`--config.FIELD=VALUE` overrides fields of pretraining.
"""

import argparse
import json
import os
import pathlib
import statistics

import true_step

from data_pipelines.common import files
from sapiens2_jax.sweep.phases import (
  FailedPhase,
  Phase,
  run_phases,
  synthetic_people,
  table,
)
from sapiens2_jax.tasks import registry

_PARTS = str(pathlib.Path(__file__).with_name("first_steps_parts.py"))


class Results:
  """Phases that each leave a file, in order."""

  def __init__(self, output: str, limit_gib: float):
    self._output, self._limit, self.phases = output, str(limit_gib), []
    self._files: dict[tuple[str, str], str] = {}

  def add(self, part: str, title: str, group: str, name: str, *arguments):
    """A part whose result is GROUP/NAME.json."""
    file = os.path.join(self._output, group, f"{name}.json")
    arguments = (_PARTS, part, file, self._limit, *arguments)
    self.phases.append(Phase(title, arguments, file))
    self._files[group, name] = file

  def read(self) -> dict:
    found = {}
    for (group, name), file in self._files.items():
      found.setdefault(group, {})[name] = files.read_json(file)
    return found


def forget_misfit(folder: str, limit_gib: float) -> None:
  """Removes results of a size that did not fit before, and fits now."""
  steps = os.path.join(folder, "steps.json")
  if not os.path.exists(steps):
    return
  found = files.read_json(steps)
  if not found["fits"] and found["account_gib"] < limit_gib:
    for file in (steps, os.path.join(folder, "resume.json")):
      if os.path.exists(file):
        os.remove(file)


def tables(found: dict) -> str:
  """What was found, in Markdown: of sizes, then of tasks."""
  sizes, tasks = [], []
  for size, parts in found.items():
    if "steps" not in parts:
      continue
    steps, resumed = parts["steps"], parts["resume"]
    row = [size, f"{steps['parameters'] / 1e6:.0f} M", f"{steps['images']}"]
    if not steps["fits"]:
      account = f"{steps['account_gib']:.1f} GiB by the compiler's account"
      sizes.append([*row, *"----", account, *"---"])
      continue
    difference = resumed["transformers"]["max_abs_difference"]
    sizes.append(
      [
        *(*row, _median(steps["seconds"]), _median(steps["core_seconds"])),
        f"{steps['useful_tflop']:.1f}",
        f"{steps['share_of_matmul']:.0%}",
        f"{steps['steps_peak_gib']:.1f} GiB, {steps['peak_gib']:.1f} saving",
        ", ".join(f"{loss:.3f}" for loss in steps["losses"]),
        f"{resumed['equal_arrays']} arrays equal",
        f"{difference:.1e}",
      ]
    )
  for name, one in found.get("tasks", {}).items():
    tasks.append(
      [
        *(name, f"{one['loss']:.3f}"),
        f"{one['changed_arrays']} of {one['arrays']}",
        *(f"{one['seconds']:.0f}", f"{one['core_seconds']:.0f}"),
        f"{one['useful_tflop']:.1f}",
        f"{one['share_of_matmul']:.0%}",
        f"{one['peak_gib']:.1f} GiB",
      ]
    )
  costs = ["seconds", "of a core", "useful TFLOP", "share of a matmul"]
  lines = table(
    [
      *("size", "parameters", "images", *costs, "peak memory", "losses"),
      *("resumed", "transformers differs by"),
    ],
    sizes,
  )
  if tasks:
    lines += ["", *table(["task", "loss", "changed", *costs, "peak"], tasks)]
  return "\n".join(lines) + "\n"


def _median(values: list[float]) -> str:
  return f"{statistics.median(values):.0f}"


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="folder for all of it")
  parser.add_argument("--sizes", default="0.1b,0.4b,0.8b,1b")
  parser.add_argument("--steps", type=int, default=3, help="at least 2")
  parser.add_argument("--task_size", default="0.1b", help="one of --sizes")
  parser.add_argument("--tasks", default=",".join(registry.task_names()))
  parser.add_argument("--corpus", help="of photographs; else made")
  parser.add_argument("--people", help="with labels; else made")
  parser.add_argument(
    "--limit_gib",
    type=float,
    help="memory that a part may take; else 70 %% of the machine's",
  )
  given, overrides = parser.parse_known_args()
  unknown = [x for x in overrides if not x.startswith("--config.")]
  if unknown:
    parser.error(f"unknown: {' '.join(unknown)}")
  if given.steps < 2:
    parser.error(f"--steps={given.steps}: expected 2 or more; one is compared")
  overrides = [x.removeprefix("--config.") for x in overrides]
  output = os.path.abspath(given.output)
  corpus = given.corpus or os.path.join(output, "corpus")
  people = given.people or os.path.join(output, "people")

  limit = given.limit_gib or 0.7 * true_step.machine_gib()
  results = Results(output, limit)
  if not given.corpus:
    made = ("-m", "data_pipelines.sample_corpus", "--output", corpus)
    results.phases.append(Phase("photographs", made))
  if not given.people:
    results.phases.append(synthetic_people(people, 4, 0, "1024x768"))
  for size in given.sizes.split(","):
    forget_misfit(os.path.join(output, size), limit)
    shared = (size, corpus)
    results.add(
      *("steps", f"{size}: steps", size, "steps"),
      *(*shared, str(given.steps), *overrides),
    )
    results.add(
      *("resume", f"{size}: resumed, and exported", size, "resume"),
      *(*shared, *overrides),
    )
  # Last: they cannot start if their size does not fit.
  if given.task_size in given.sizes.split(","):
    size = given.task_size
    export = os.path.join(output, size, "transformers")
    for task in filter(None, given.tasks.split(",")):
      results.add(
        *("task", f"{task}: a step", "tasks", task),
        *(task, size, people, export),
      )
  try:
    run_phases(results.phases)
  except FailedPhase as error:
    raise SystemExit(str(error)) from error
  found = results.read()
  print(f"\n{tables(found)}")
  print("RESULT " + json.dumps({"benchmark": "first_steps", **found}))


if __name__ == "__main__":
  main()
