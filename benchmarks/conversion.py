r"""Import and export of any size: same bytes, how much memory, how fast?

Run:    python benchmarks/conversion.py --size 5b --dtype bfloat16 \
          --directory DIR [--rounds 1] [--shard_gb 5] [--forward] \
          [--run sliced]
Needs:  room for three copies of the weights (5b in bfloat16: 32 GB), some
        minutes, and memory for what transformers makes (5b: 8 GB)

Weights are made at random while they are exported, so that no process ever
holds all of them. The commands then import and export them again; every tensor
must come back bit for bit. Peak memory is that of each process (resident set).
Speed is compared with `cp` and `sync` of the same bytes just before, all from
disk: the page cache is emptied of what is read. One block runs in transformers
beside ours, from the exported files alone; with --forward all blocks do.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from data_pipelines.common import directories
from sapiens2_jax.architectures import ARCHITECTURES

ITEM_BYTES = {"float32": 4, "bfloat16": 2}
COPIES = 3.1  # Released, imported, and exported or what cp makes.
STEPS = pathlib.Path(__file__).with_name("conversion_steps.py")
ALONE = ("write", "torch", "jax", "export_run")  # measured once
LIMITS = {"layer": 1e-5, "forward": 5e-5}  # of absolute differences


def forget(path: pathlib.Path) -> None:
  """Writes all to the disk, and drops the files of `path` from memory.

  They are read once: what a disk or a host keeps of them helps all alike.
  """
  os.sync()
  for file in sorted(path.rglob("*")):
    if file.is_file():
      with open(file, "rb", buffering=0) as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while opened.read(2**24):
          pass
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, command: list[str], reads: pathlib.Path | None) -> dict:
  """Runs a process to its end and to that of writing; ends if it fails.

  Returns:
    Seconds, those of the CPU, peak memory in GB, and its last line.
  """
  if reads is not None:
    forget(reads)
  start = time.monotonic()
  with tempfile.TemporaryFile("w+") as log:
    process = subprocess.Popen(command, stdout=log)
    _, status, usage = os.wait4(process.pid, 0)
    os.sync()
    seconds = time.monotonic() - start
    log.seek(0)
    lines = log.read().splitlines() or [""]
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    sys.exit(f"{name} failed with {process.returncode}: {' '.join(command)}")
  found = {
    "seconds": round(seconds, 2),
    "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
    "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
  }
  print(f"{name:8} {found}", flush=True)
  return {**found, "last": lines[-1]}


def module(name: str, **flags) -> list[str]:
  given = [f"--{key}={value}" for key, value in flags.items()]
  return [sys.executable, "-m", f"sapiens2_jax.{name}", *given]


def step(name: str, *arguments) -> list[str]:
  return [sys.executable, str(STEPS), name, *map(str, arguments)]


def copy(name: str, source: pathlib.Path) -> dict:
  target = source.with_name("copy")
  try:
    return measure(name, ["cp", "-r", str(source), str(target)], source)
  finally:
    shutil.rmtree(target, ignore_errors=True)


def convert(given: argparse.Namespace, root: pathlib.Path) -> dict:
  """Released, imported, exported; and what each cost."""
  released, imported, exported = (
    root / name for name in ("released", "imported", "exported")
  )
  make = step("write", given.size, given.dtype, given.shard_gb, released)
  found = {"write": measure("write", make, None)}
  found["rounds"] = []
  for _ in range(given.rounds):
    for path in (imported, exported):
      shutil.rmtree(path, ignore_errors=True)
    one = {"copy_1": copy("copy", released)}
    command = module("import_weights", checkpoint=released, output=imported)
    one["import"] = measure("import", command, released)
    one["copy_2"] = copy("copy", released)
    options = {"format": "transformers", "output": exported}
    command = module("export", checkpoint=imported, **options)
    one["export"] = measure("export", command, imported)
    found["rounds"].append(one)
  compared = measure("compare", step("compare", released, exported), None)
  found["equal_tensors"] = json.loads(compared["last"])
  layer = measure("layer", step("layer", exported), None)
  found["layer"] = json.loads(layer["last"])
  if given.forward:
    outputs = []
    for framework in ("torch", "jax"):
      file = root / f"{framework}.npz"
      command = step("forward", framework, exported, file)
      found[framework] = measure(framework, command, None)
      outputs.append(file)
    done = measure("outputs", step("outputs", *outputs), None)
    found["forward"] = json.loads(done["last"])
  if given.run:
    workdir, again = root / "run", root / "exported_run"
    measure("state", step("state", given.run, imported, workdir), None)
    command = module(
      *("export",), checkpoint=workdir, format="transformers", output=again
    )
    found["export_run"] = measure("run", command, workdir)
    if given.dtype == "float32":
      measure("compare", step("compare", released, again), None)
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--size", choices=ARCHITECTURES, required=True)
  parser.add_argument("--dtype", choices=ITEM_BYTES, default="bfloat16")
  parser.add_argument("--directory", required=True, help="for large files")
  parser.add_argument("--rounds", type=int, default=1, help="for the speed")
  parser.add_argument("--shard_gb", type=float, default=5.0)
  parser.add_argument(
    "--forward", action="store_true", help="all blocks; needs their memory"
  )
  parser.add_argument(
    "--run",
    choices=("sliced", "whole"),
    help="also export a training run, whose arrays were written so",
  )
  given = parser.parse_args()
  arch = ARCHITECTURES[given.size]
  num_bytes = arch.num_params * ITEM_BYTES[given.dtype]
  needed = COPIES * num_bytes
  if given.run:
    needed += 3 * arch.num_params * ITEM_BYTES["float32"]
  try:
    directories.check_free(given.directory, int(needed))
  except OSError as error:
    sys.exit(f"--directory: {error}")
  root = pathlib.Path(given.directory).absolute()
  root.mkdir(parents=True, exist_ok=True)
  root = pathlib.Path(tempfile.mkdtemp(prefix="conversion_", dir=root))
  try:
    found = convert(given, root)
  finally:
    shutil.rmtree(root, ignore_errors=True)

  rounds = found["rounds"]
  names = ("copy_1", "import", "copy_2", "export")
  seconds = {name: [one[name]["seconds"] for one in rounds] for name in names}

  def share(name: str, peer: str) -> float:
    pairs = zip(seconds[name], seconds[peer])
    return round(statistics.median(b / a for a, b in pairs), 3)

  measured = [*rounds, {key: x for key, x in found.items() if key in ALONE}]
  result = {
    "size": given.size,
    "dtype": given.dtype,
    "gigabytes": round(num_bytes / 1e9, 3),
    "peak_gb": {
      name: max(one[name]["peak_gb"] for one in measured if name in one)
      for name in (*names, *ALONE)
      if any(name in one for one in measured)
    },
    "cpu_seconds": {
      name: [one[name]["cpu_seconds"] for one in rounds] for name in names
    },
    "megabytes_per_second": {
      name: [round(num_bytes / t / 1e6, 1) for t in times]
      for name, times in seconds.items()
    },
    "share_of_copy": {
      "import": share("import", "copy_1"),
      "export": share("export", "copy_2"),
    },
    "equal_tensors": found["equal_tensors"],
    "layer": found["layer"],
    "forward": found.get("forward"),
  }
  print("RESULT " + json.dumps(result))
  far = [
    name
    for name, limit in LIMITS.items()
    if result[name] and not result[name]["max_abs_difference"] < limit
  ]
  if far or result["layer"]["keys_that_do_not_fit"]:
    sys.exit(f"transformers computes something else: {far or 'keys'}")


if __name__ == "__main__":
  main()
