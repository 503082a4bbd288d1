r"""Two checkouts of this project: same bytes, same numbers, same speed?

Run:    python benchmarks/compare_checkouts.py --before DIR [--after DIR] \
          --output DIR [--steps 20] [--rounds 3] [--only TRAINING] \
          [--config.FIELD=VALUE, for all trainings]
Needs:  some minutes of two cores; for the speeds, the machine to itself

For changes that must change nothing. Both run the same commands on the same
made-up images, each with its own code: a corpus of photographs and one with
normals, the toy's pretraining and fine-tuning on normals, and exports. Files,
metrics and all arrays of the last checkpoints must be equal, bit for bit, or
the exit code is 1. Then pretrainings take turns for the speed of a step. One
cache serves both: only programs that differ are compiled anew.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import jax
import numpy as np
import orbax.checkpoint as ocp

RENAMED = {"carried": "teacher_state"}  # Of the state, by former names.
NUM_IMAGES = 12
WARM_UP = 3  # Steps whose times do not count: they compile and fill caches.
# Of each training its experiment and its corpus.
TRAININGS = {
  "pretrain": ("experiments/pretrain.py:size=toy", "corpus"),
  "normal": ("experiments/finetune.py:task=normal,size=toy", "labelled"),
}
EXPORTS = ("transformers", "reference")


def write_photographs(folder: pathlib.Path) -> None:
  """Smooth random pictures with grain, of several sizes and two formats."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(NUM_IMAGES):
    coarse = rng.integers(0, 256, (7, 5, 3), np.uint8)
    image = cv2.resize(coarse, (300 + 37 * i, 420 - 23 * i))
    image = np.clip(image + rng.integers(-12, 13, image.shape), 0, 255)
    ending = "jpg" if i % 3 else "png"
    cv2.imwrite(f"{folder}/{i:02}.{ending}", image.astype(np.uint8))


def write_balls(folder: pathlib.Path) -> None:
  """Lit balls before a grey ground: images, masks and normals."""
  for name in ("rgb", "mask", "normal"):
    (folder / name).mkdir(parents=True)
  rng = np.random.default_rng(1)
  for i in range(NUM_IMAGES):
    height, width = 280 + 20 * (i % 4), 240 - 15 * (i % 3)
    radius = rng.uniform(60, 100)
    row, column = rng.uniform(radius, (height - radius, width - radius))
    y, x = np.indices((height, width), np.float32)
    x, y = (x - column) / radius, (row - y) / radius
    mask = (x**2 + y**2 < 1)[..., None]
    z = np.sqrt(np.maximum(0, 1 - x**2 - y**2))
    normal = np.where(mask, np.stack([x, y, z], -1), 0).astype(np.float32)
    image = np.where(mask, 255 * normal @ rng.dirichlet((1, 1, 1), 1).T, 90)
    image = np.clip(image + rng.integers(-9, 10, (*z.shape, 3)), 0, 255)
    cv2.imwrite(f"{folder}/rgb/{i:02}.png", image.astype(np.uint8))
    cv2.imwrite(f"{folder}/mask/{i:02}.png", 255 * mask.astype(np.uint8))
    np.save(folder / f"normal/{i:02}.npy", normal)


class Checkout(NamedTuple):
  """One of the two."""

  name: str  # before or after
  path: str  # of its code
  folder: pathlib.Path  # that its runs write


def run(checkout: Checkout, label: str, *arguments: object) -> None:
  """Runs `python -m ARGUMENTS` in a checkout; the output goes to LABEL.log.

  Raises:
    SystemExit: the command fails; its last lines are printed.
  """
  log = checkout.folder / f"{label}.log"
  env = {
    **os.environ,
    "PYTHONPATH": checkout.path,
    "JAX_COMPILATION_CACHE_DIR": str(checkout.folder.parent / "programs"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-m", *map(str, arguments)]
  with open(log, "w") as file:
    done = subprocess.run(
      command, cwd=checkout.path, env=env, stdout=file, stderr=file
    )
  if done.returncode:
    print("\n".join(log.read_text().splitlines()[-20:]), file=sys.stderr)
    raise SystemExit(f"{log}: ended with code {done.returncode}")


def train(checkout: Checkout, label: str, training: str, given) -> None:
  """One training to its end, in the workdir LABEL."""
  spec, corpus = TRAININGS[training]
  overrides = {
    "data.path": checkout.folder / corpus,
    "optim.num_steps": given.steps,
    "optim.warmup_steps": 1,
    "checkpoint.every": 1000,  # So only at the end.
    "logging.every": 1,
  }
  run(
    checkout,
    label,
    *("sapiens2_jax.train", "--config", spec),
    *("--workdir", checkout.folder / label),
    *(f"--config.{field}={value}" for field, value in overrides.items()),
    *given.overrides,
  )


def run_all(checkout: Checkout, given) -> None:
  """Everything that is compared."""
  output = checkout.folder.parent
  for label, module, source in (
    ("corpus", "data_pipelines.build_corpus", output / "photographs"),
    ("labelled", "data_pipelines.annotated", f"folders:{output}/balls"),
  ):
    place = ("--output", checkout.folder / label, "--shard_size", 5)
    run(checkout, label, module, "--input", source, *place)
  for training in given.trainings:
    train(checkout, training, training, given)
  for kind in EXPORTS:
    place = ("--output", checkout.folder / kind, "--format", kind)
    source = ("--checkpoint", checkout.folder / given.trainings[0])
    run(checkout, kind, "sapiens2_jax.export", *source, *place)


def read_files(folder: pathlib.Path) -> dict[str, bytes]:
  """Contents by name, without notes of what was asked for."""
  files = [p for p in folder.rglob("*") if p.is_file()]
  contents = {str(p.relative_to(folder)): p.read_bytes() for p in files}
  return {k: v for k, v in contents.items() if k != "export.json"}


def read_rows(workdir: pathlib.Path, name: str) -> list[dict]:
  return [json.loads(line) for line in (workdir / name).open()]


def read_metrics(workdir: pathlib.Path) -> dict[str, float]:
  """All values of metrics.jsonl by step and name."""
  rows = read_rows(workdir, "metrics.jsonl")
  return {f"step {r['step']} {k}": r[k] for r in rows for k in r}


def read_state(workdir: pathlib.Path) -> dict[str, tuple]:
  """Dtype, shape and bytes of a checkpoint's arrays by their present names."""
  (path,) = (workdir / "checkpoints").glob("*/state")
  reader = ocp.PyTreeCheckpointer()
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
    reader.metadata(path).item_metadata.tree,
  )
  tree = reader.restore(path, restore_args=as_numpy)
  tree = {RENAMED.get(name, name): node for name, node in tree.items()}
  return {
    jax.tree_util.keystr(place): (str(x.dtype), x.shape, x.tobytes())
    for place, x in jax.tree.leaves_with_path(tree)
  }


def compare(both: Sequence[Checkout], given) -> dict[str, int]:
  """How many things differ, by check; prints a line for each."""
  checks = {name: (name, read_files) for name in ("corpus", "labelled")}
  for name in given.trainings:
    checks[f"{name}, metrics"] = (name, read_metrics)
    checks[f"{name}, state"] = (name, read_state)
  checks |= {f"export, {kind}": (kind, read_files) for kind in EXPORTS}
  differing = {}
  for title, (name, read) in checks.items():
    before, after = (read(checkout.folder / name) for checkout in both)
    keys = before | after or ["nothing is there"]
    found = [k for k in keys if before.get(k, "-") != after.get(k, "no such")]
    shown = f"DIFFER: {', '.join(found[:4])}" if found else "equal"
    print(f"{title:22} {len(before)} things, {shown}", flush=True)
    differing[title] = len(found)
  return differing


def measure(both: Sequence[Checkout], given) -> dict:
  """Seconds of a step of each in the first training; they take turns."""
  seconds = {checkout.name: [] for checkout in both}
  for number in range(given.rounds):
    for checkout in both:
      label = f"speed-{number}"
      train(checkout, label, given.trainings[0], given)
      rows = read_rows(checkout.folder / label, "speed.jsonl")[WARM_UP:]
      seconds[checkout.name] += [row["step_seconds"] for row in rows]
  result = {}
  for title, pick in (("median", statistics.median), ("best", min)):
    old, new = (pick(seconds[checkout.name]) for checkout in both)
    print(f"{f'{title} step, s':22} {old:.4f}, {new:.4f}: {new / old:.3f}")
    result[title] = {"before": old, "after": new, "ratio": round(new / old, 3)}
  return result


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--before", required=True, help="a checkout")
  parser.add_argument("--after", default=".", help="default: this one")
  parser.add_argument("--output", required=True, help="a new directory")
  parser.add_argument("--steps", type=int, default=20, help="of each training")
  parser.add_argument("--rounds", type=int, default=3, help="for the speed")
  parser.add_argument("--only", choices=TRAININGS, help="one training")
  given, given.overrides = parser.parse_known_args()
  given.trainings = [given.only] if given.only else list(TRAININGS)
  output = pathlib.Path(given.output).resolve()
  if output.exists():
    parser.error(f"--output={output} exists already")
  if given.steps <= WARM_UP:
    parser.error(f"--steps={given.steps} must be above {WARM_UP}")
  write_photographs(output / "photographs")
  write_balls(output / "balls")
  both, programs = [], []
  for name in ("before", "after"):
    path = os.path.abspath(getattr(given, name))
    both.append(Checkout(name, path, output / name))
    both[-1].folder.mkdir()
    print(f"{name:22} {path}", flush=True)
    run_all(both[-1], given)
    programs.append(len(list((output / "programs").glob("*-cache"))))
  differing = compare(both, given)
  print(f"{'programs compiled':22} {programs[0]}, in all {programs[1]}")
  result = {
    "benchmark": "compare_checkouts",
    "differing": differing,
    "programs": programs,
    "step_seconds": measure(both, given),
  }
  print("RESULT " + json.dumps(result))
  sys.exit(any(differing.values()))


if __name__ == "__main__":
  main()
