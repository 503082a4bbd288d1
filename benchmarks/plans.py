r"""Plans every size on slices that fit it, and writes docs/plans.md.

  python -m benchmarks.plans [--only 1b] [--fast] [--output docs] [--write]

Needs libtpu, no TPU. Each plan is a compilation of some minutes, of fewer and
without the compiler's cycles with `--fast`; finished
ones are kept in plans.jsonl beside the page and not made again (delete the
line, or the file, to make them anew). `--write` only writes the page; `--only
toy` makes a plan of the toy, which is not on the page of docs.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from benchmarks import calibration
from data_pipelines.common import jsonl
from sapiens2_jax.planning import compiling
from sapiens2_jax.planning.calibration import find_calibration
from sapiens2_jax.planning.plan import BILLION

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_BLOCK, _FULL = "model.remat=block", "model.remat=full"
_ONCE = "model.gather=step"


def _steps(count: int) -> str:
  return f"data.accumulation_steps={count}"


# (size, topology, slices, overrides ...)
PLANS = (
  ("0.1b", "v5e:4x4", 1, "mesh.data=16", _steps(32), _BLOCK),
  ("0.1b", "v5p:2x2x4", 1, "mesh.data=16", _steps(8), _BLOCK),
  ("0.1b", "v6e:4x4", 1, "mesh.data=16", _steps(16), _BLOCK),
  ("0.1b", "v4:2x2x4", 1, "mesh.data=16", _steps(16), _BLOCK),
  ("0.4b", "v5p:2x2x4", 1, "mesh.data=2", _steps(16), _BLOCK),
  ("0.4b", "v5e:8x8", 1, "mesh.data=8", _steps(16), _BLOCK),
  ("0.4b", "v6e:8x8", 1, "mesh.data=8", _steps(8), _BLOCK),
  ("0.4b", "v4:4x4x4", 1, "mesh.data=8", _steps(8), _BLOCK),
  ("0.8b", "v5p:4x4x4", 1, "mesh.data=8", _steps(4), _BLOCK),
  ("0.8b", "v5e:8x8", 1, "mesh.data=8", _steps(32), _BLOCK),
  ("0.8b", "v6e:8x8", 1, "mesh.data=8", _steps(16), _BLOCK),
  ("0.8b", "v4:4x4x4", 1, "mesh.data=8", _steps(16), _BLOCK),
  ("1b", "v5p:4x4x4", 1, "mesh.data=4", _steps(4), _BLOCK, _ONCE),
  ("5b", "v5p:4x4x4", 1, "mesh.data=4", _steps(16), _BLOCK, _ONCE),
  ("1b", "tpu7x:4x4x4", 1, "mesh.data=8", _steps(4), _BLOCK, _ONCE),
  ("5b", "tpu7x:4x4x4", 1, "mesh.data=8", _steps(8), _BLOCK),
  ("1b", "v5e:8x8", 1, _steps(32), _FULL),
  ("5b", "v5e:16x16", 1, "mesh.data=2", _steps(8), _FULL),
  (
    *("1b", "v5p:8x8x8", 1, "mesh.data=32", _steps(4), _BLOCK),
    "data.global_batch_size=16384",
  ),
  ("1b", "v5p:4x4x4", 2, "mesh.data=8", _steps(4), _BLOCK),
  ("1b", "v6e:8x8", 1, "mesh.data=4", _steps(16), _BLOCK, _ONCE),
  ("1b", "v4:4x4x4", 1, "mesh.data=4", _steps(16), _BLOCK),
  ("1b_4k", "v5p:4x4x4", 1, "mesh.data=4", _steps(8), _BLOCK),
  ("5b", "v6e:16x16", 1, "mesh.data=16", _steps(4), _FULL, _ONCE),
  ("5b", "v4:4x4x8", 1, "mesh.data=8", _steps(16), _FULL),
)


# Only shows that everything runs.
SMALLEST = (
  *("toy", "v5e:2x2", 1, "mesh.data=4", "model.decoder_layers=1"),
  *("data.image_size=(64,48)", "data.local_size=(48,16)"),
)


def command(entry: tuple) -> list[str]:
  """The plan that a user would ask for."""
  size, topology, slices, *overrides = entry
  return [
    *("python", "-m", "sapiens2_jax.plan", "--json"),
    *("--config", f"experiments/pretrain.py:size={size}"),
    *("--topology", topology, "--num_slices", str(slices)),
    *(f"--config.{override}" for override in overrides),
  ]


def read_rows(output: str) -> dict[str, dict]:
  """Finished plans by their command."""
  rows = jsonl.read_rows(os.path.join(output, "plans.jsonl"))
  return {row["command"]: row for row in rows}


def make(entry: tuple, output: str, is_fast: bool) -> None:
  """Makes one plan and appends it."""
  line = command(entry)
  start = time.perf_counter()
  done = subprocess.run(
    [sys.executable, *line[1:], *["--fast"][:is_fast]],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  if done.returncode:
    raise SystemExit(f"plans: failed: {' '.join(line)}")
  row = {"command": " ".join(line), **json.loads(done.stdout.splitlines()[-1])}
  row["planning_seconds"] = round(time.perf_counter() - start)
  with open(os.path.join(output, "plans.jsonl"), "a") as file:
    file.write(json.dumps(row) + "\n")


_HEAD = """\
# Plans

This page has plans of all sizes on TPU slices: memory, step time and MFU of a
training step. Crops are the paper's and the global batch is 2048, unless the
last column says otherwise. **Nothing here was run on a TPU.**

- HBM is the compiler's own account of a device.
- Step time and MFU are estimates of `sapiens2 plan`, which prints how they are
  made. They are **corrected by runs whose speed was published**
  ([calibration](#calibration)); the range of an MFU is that of those runs.
- "By peak" and "by cycles" are the estimates before the correction: from peak
  and bandwidth, and from the compiler's cycles. `-` means that the compiler was
  stopped before it made code (`--fast`); HBM is then without that code.
- A star marks an older plan, with JAX's attention kernel (`splash`) instead of
  the one that `auto` takes now. At that time transfers between HBM and the
  chip's memory were counted as steps of their own, many times; such a plan is
  shown without that part, which on v5p is 2 % of a step at most.

`python -m benchmarks.plans` makes the plans one at a time;
[plans.jsonl](plans.jsonl) has their commands.

"""
_CALIBRATION = """
## Calibration

Training runs of language models whose speed Google has published, planned with
the same account by `python -m benchmarks.calibration`: the same sizes, batch,
mesh, rematerialisation and compiler flags (`benchmarks/published.py` says what
differs), the same number of devices. Measured with the compiler of their time,
planned with libtpu 0.0.52; sources stand in
[calibration.jsonl](calibration.jsonl). Where no cycles stand, the compiler was
stopped before it made code (`--fast`).

The published steps took longer than peak and bandwidth say, and less than the
compiler's cycles say. For work that only moves bytes, the cycles are 2.4 to 2.8
times what HBM needs (`2 * x + 1` of a long array: 0.36 to 0.41 of the bandwidth
on each chip), and our steps have more of such work than language models. With
cycles for products alone, the estimates are within 7 % of the runs. So a plan
takes peak and bandwidth, times the median of its chip, or of all chips if it
has no run. On v5p and v6e the published runs hid collectives in a way that this
compiler refuses there; here they count as not hidden, 3 to 20 % of a step.

"""


_COLUMNS = (
  *("size", "slice", "devices", "mesh", "images a device", "remat", "HBM"),
  *("step s", "images/s", "MFU", "range", "by peak", "by cycles"),
  *("days for 1 billion images", "planned in s", "beside the recipe"),
)


def format_row(row: dict) -> str:
  mesh = dict(row["mesh"])
  fixed = row["num_devices"] // mesh["data"]
  mesh["fsdp"] = fixed // (mesh["sequence"] * mesh["tensor"])
  shown = " x ".join(f"{k}={v}" for k, v in mesh.items() if v != 1)
  slices = f"{row['num_slices']} x " if row["num_slices"] > 1 else ""
  images = row["global_batch_size"] // (
    row["num_devices"] * row["accumulation_steps"]
  )
  cells = [
    row["size"],
    slices + row["topology"],
    row["num_devices"],
    shown,
    images,
    row["remat"],
    f"{row['hbm_fraction']:.0%}",
  ]
  if "estimated_step_seconds" in row:
    cells += _speed(row)
  else:
    cells += ["-"] * 7
  usual = ("--config.mesh", "--config.data.accum", "--config.model.remat")
  other = [
    part.removeprefix("--config.")
    for part in row["command"].split()
    if part.startswith("--config.") and not part.startswith(usual)
  ]
  cells += [row["planning_seconds"], ", ".join(other)]
  return "| " + " | ".join(map(str, cells)) + " |"


def _speed(row: dict) -> list[str]:
  """Calibrated by the table of today, whenever the plan was made."""
  chip = compiling.parse_topology(row["topology"])
  by_peak = row["estimated_step_seconds"]
  by_cycles = row["scheduled_step_seconds"]  # None without code.
  seconds = find_calibration(chip.name).correct(by_peak)

  def mfu(seconds: float) -> float:
    return row["useful_flops"] / seconds / chip.peak_flops

  rate = row["global_batch_size"] / seconds.median
  star = "*" if row.get("without_transfers") else ""
  return [
    f"{seconds.median:.2f}{star}",
    f"{rate:.0f}",
    f"{mfu(seconds.median):.1%}",
    f"{mfu(seconds.high):.0%} to {mfu(seconds.low):.0%}",
    f"{mfu(by_peak):.1%}",
    f"{mfu(by_cycles):.1%}" if by_cycles else "-",
    f"{BILLION / rate / 86400:.1f}",
  ]


def write_page(output: str) -> None:
  """All finished plans, by size and chip."""
  sizes = list(dict.fromkeys(entry[0] for entry in (SMALLEST, *PLANS)))
  rows = sorted(
    read_rows(output).values(),
    key=lambda row: (sizes.index(row["size"]), row["topology"]),
  )
  head = [" | ".join(("", *_COLUMNS, "")).strip(), "|---" * len(_COLUMNS) + "|"]
  table = [*head, *map(format_row, rows)]
  found = calibration.read_rows(output)
  with open(os.path.join(output, "plans.md"), "w") as file:
    file.write(_HEAD + "\n".join(table) + "\n")
    if found:
      file.write(_CALIBRATION + calibration.format_table(found))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", help="a size")
  parser.add_argument(
    "--output", default=os.path.join(ROOT, "docs"), help="where all is kept"
  )
  parser.add_argument("--fast", action="store_true", help="no cycles")
  parser.add_argument("--write", action="store_true", help="no new plans")
  given = parser.parse_args()
  plans = (SMALLEST,) if given.only == SMALLEST[0] else PLANS
  for entry in () if given.write else plans:
    line = " ".join(command(entry))
    if given.only in (None, entry[0]) and line not in read_rows(given.output):
      print(f"plans: {line}", flush=True)
      make(entry, given.output, given.fast)
      write_page(given.output)
  write_page(given.output)
  rows = read_rows(given.output).values()
  fits = sum(row["fits"] for row in rows)
  print("RESULT " + json.dumps({"plans": len(rows), "fit": fits}))


if __name__ == "__main__":
  main()
