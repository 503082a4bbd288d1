r"""Holds plans against training runs whose speed has been published.

  python -m benchmarks.calibration [--only v6e] [--fast] [--output docs]

Needs libtpu, no TPU. Compiles each program of `published.py` as its source
ran it (`decoder.py`), takes the account that `plan` takes, and prints the
estimate beside the measurement. Each is a compilation of some minutes, or of
one with `--fast`, which stops the compiler before it makes code and so leaves
out its cycles. Finished ones are kept in calibration.jsonl and not made again.
`--programs FOLDER` keeps the compiled programs as text, from which the account
can be taken again in seconds. `--only smallest` shows that everything runs.
"""

import argparse
import dataclasses
import gzip
import json
import os
import re

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)

from benchmarks import published
from benchmarks.decoder import Program
from data_pipelines.common import jsonl
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling, hlo
from sapiens2_jax.planning.calibration import ANY, summarize
from sapiens2_jax.planning.estimate import estimate

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# The compiler's work grows with a tile's area, and the account sees these sides
# of it only as the numbers that stand beside a kernel. Not so the keys of a
# backward tile: each adds a partial gradient of the queries.
_COMPILED_BLOCK = 512


def block_sizes(run: published.Run, largest: int) -> splash.BlockSizes:
  """Of the attention kernels, as published, queries up to `largest`."""
  keys = min(run.block, run.num_tokens)
  queries = min(keys, largest)
  forward, backward = (min(queries, block) for block in run.compute_block)
  layouts = (
    splash.QKVLayout.HEAD_DIM_MINOR if minor else splash.QKVLayout.SEQ_MINOR
    for minor in run.head_minor
  )
  return splash.BlockSizes(
    *(queries, queries, forward, queries, keys, backward),
    *((None, None) if run.is_fused else (queries, queries)),
    run.is_fused,
    *layouts,
  )


def make_mesh(run: published.Run) -> jax.sharding.Mesh:
  axes = {"data": 1, "fsdp": -1, "sequence": 1, "tensor": run.tensor}
  return mesh_lib.make_mesh(axes, compiling.topology_devices(run.topology))


def lower_run(
  run: published.Run, mesh: jax.sharding.Mesh
) -> jax.stages.Lowered:
  """The step, before it is compiled."""
  program = Program(
    run.shape,
    mesh,
    run.remat,
    block_sizes(run, _COMPILED_BLOCK),
    jnp.bfloat16 if run.small_moment else jnp.float32,
    run.vocab_parts,
  )
  return program.lower(run.batch * mesh.size, run.num_tokens)


def compile_run(run: published.Run, mesh, is_fast: bool) -> str:
  """The text of the compiled step; if fast, without the compiler's cycles."""
  if is_fast:
    text, _ = compiling.schedule(_lower, run, flags=run.flags)
  else:
    text = compiling.compile_with_text(lower_run(run, mesh), run.flags)[1]
  published_sizes = dataclasses.asdict(block_sizes(run, run.block))
  for name, size in published_sizes.items():
    if name.startswith("block_") and size:
      text = re.sub(rf'(\\"{name}\\"): \d+', rf"\1: {size}", text)
  return text


def _lower(run: published.Run) -> jax.stages.Lowered:
  return lower_run(run, make_mesh(run))


def read_program(
  run: published.Run, mesh, folder: str | None, is_fast: bool
) -> str:
  """Compiles, or reads what `--programs` kept; of `--fast` apart."""
  kind = "_fast" if is_fast else ""  # A text without cycles is not for both.
  name = f"{run.topology}_{run.name}{kind}.txt.gz".replace(" ", "_")
  path = folder and os.path.join(folder, name)
  if path and os.path.exists(path):
    with gzip.open(path, "rt") as file:
      return file.read()
  text = compile_run(run, mesh, is_fast)
  if path:
    with gzip.open(path, "wt") as file:
      file.write(text)
  return text


def make_row(
  run: published.Run, folder: str | None, is_fast: bool = False
) -> dict:
  """Estimate and measurement of one run, seconds of a step."""
  mesh, chip = make_mesh(run), compiling.parse_topology(run.topology)
  text = read_program(run, mesh, folder, is_fast)
  cost = estimate(hlo.parse(text), mesh, chip)
  return {
    "run": run.name,
    "chip": chip.name,
    "topology": run.topology,
    "num_devices": mesh.size,
    "source": run.source,
    "measured_seconds": round(run.step_seconds, 4),
    "estimated_seconds": cost.step_seconds,
    "scheduled_seconds": None if is_fast else cost.scheduled_step_seconds,
    "mixed_seconds": None if is_fast else cost.mixed_step_seconds,
    "compute_seconds": cost.compute_seconds,
    "memory_seconds": cost.memory_seconds,
    "exposed_communication_seconds": cost.exposed_seconds,
    "communication_seconds": cost.communication_seconds,
    "counted_flops": run.counted_flops,
    "executed_flops": cost.flops,
    "bytes_accessed": cost.hbm_bytes,
  }


def read_rows(output: str) -> list[dict]:
  """Finished rows, in the order in which they were made."""
  return jsonl.read_rows(os.path.join(output, "calibration.jsonl"))


_COLUMNS = (
  *("run", "slice", "devices", "measured s", "by peak and bandwidth s"),
  *("measured / estimated", "by cycles s", "measured / estimated"),
  *("products by cycles, rest by bandwidth s", "measured / estimated"),
)
_ACCOUNTS = ("estimated_seconds", "scheduled_seconds", "mixed_seconds")


def format_table(rows: list[dict]) -> str:
  """Estimate beside measurement, and what that makes of each chip."""
  lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
  for row in sorted(rows, key=lambda row: (row["chip"], row["num_devices"])):
    measured = row["measured_seconds"]
    cells = [row["run"], row["topology"], row["num_devices"], f"{measured:.2f}"]
    for name in _ACCOUNTS:
      if row[name]:
        cells += [f"{row[name]:.2f}", f"{measured / row[name]:.2f}"]
      else:
        cells += ["-", "-"]
    lines.append(_line(cells))
  lines += ["", _line(_SUMMARY), _line(["---"] * len(_SUMMARY))]
  by_chip = summarize(rows)
  for chip in sorted(by_chip, key=lambda chip: (chip == ANY, chip)):
    found = by_chip[chip]
    cells = ["all" if chip == ANY else chip, found.runs]
    for spread in (found.roofline, found.cycles, found.mixed):
      cells.append(
        f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
        if spread
        else "-"
      )
    lines.append(_line(cells))
  return "\n".join(lines) + "\n"


_SUMMARY = (
  *("chip", "runs", "measured / by peak and bandwidth, median (range)"),
  "measured / by cycles, median (range)",
  "measured / products by cycles, rest by bandwidth, median (range)",
)


def _line(cells) -> str:
  return "| " + " | ".join(map(str, cells)) + " |"


def key(run: published.Run) -> tuple[str, str]:
  return run.name, run.topology


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", help="a chip, or smallest")
  parser.add_argument(
    "--output", default=os.path.join(ROOT, "docs"), help="where all is kept"
  )
  parser.add_argument("--programs", help="keeps compiled programs here")
  parser.add_argument("--fast", action="store_true", help="no cycles")
  given = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  runs = published.RUNS
  if given.only == published.SMALLEST.name:
    runs = (published.SMALLEST,)
  elif given.only:
    runs = [run for run in runs if run.topology.startswith(given.only)]
  path = os.path.join(given.output, "calibration.jsonl")
  done = {(row["run"], row["topology"]) for row in read_rows(given.output)}
  for run in runs:
    if key(run) in done:
      continue
    print(f"calibration: {run.name}, {run.topology}", flush=True)
    with open(path, "a") as file:
      row = make_row(run, given.programs, given.fast)
      file.write(json.dumps(row) + "\n")
  rows = read_rows(given.output)
  print(format_table(rows))
  result = {
    chip: {"runs": found.runs}
    | {
      f"measured_over_{name}": spread and dataclasses.astuple(spread)
      for name, spread in (
        ("estimated", found.roofline),
        ("cycles", found.cycles),
        ("mixed", found.mixed),
      )
    }
    for chip, found in summarize(rows).items()
  }
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
