"""Damaged checkpoints: is each one found, or does a run go on with it?

Run:    python -m benchmarks.checkpoint_corruption [--cases 400] [--seed 0]

A run has three checkpoints, of arrays of every kind. In each case a copy's
newest one is damaged in one to three places: a bit is flipped, a file cut,
deleted, or swapped with any other of the run, or a block of it is zeroed. Then
the run is restored as a restart does it. Right is what is bit for bit as it was
saved: the newest checkpoint, or an older one if that was said. The damage is
drawn from the seed and the number of the case; --only N runs one of them.
"""

import argparse
import collections
import contextlib
import io
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import traceback

import jax
import numpy as np

from data_pipelines.common.checksums import find_files
from data_pipelines.common.progress import Progress
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import TrainState
from sapiens2_jax.validation import default_config, read_config

STEPS = (10, 20, 30)
LIMIT = 60.0  # Seconds after which a case hangs.
BLOCK = 512  # Bytes that are zeroed together.
KINDS = ("flip", "cut", "delete", "swap", "zero")


def make_state(step: int) -> TrainState:
  """Arrays that tell their step."""
  rng = np.random.default_rng(step)

  def draw(*shape: int) -> jax.Array:
    return jax.numpy.asarray(rng.standard_normal(shape, np.float32))

  params = {"encoder": {"stack": draw(4, 64, 48), "bias": draw(4, 48)}}
  zero = jax.numpy.zeros((), "int32")
  return TrainState(
    step=zero + step,
    params=params,
    teacher_state={"teacher": jax.tree.map(jax.numpy.cos, params)},
    opt_state={"mu": jax.tree.map(jax.numpy.sin, params), "count": zero + step},
    rng=jax.numpy.asarray([0, step], "uint32"),
    nonfinite_streak=zero,
    nonfinite_total=zero,
  )


def open_run(workdir: pathlib.Path) -> Checkpointer:
  return Checkpointer(str(workdir), default_config("pretrain"), read_config)


def restore(workdir: pathlib.Path) -> tuple[int, TrainState]:
  """Step and state that a restart goes on from."""
  checkpointer = open_run(workdir)
  with contextlib.closing(checkpointer):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
      make_state(0),
    )
    state, _, next_example = checkpointer.restore(abstract)
  return next_example, state


def damage(rng: np.random.Generator, workdir: pathlib.Path) -> str:
  """Damages a random file of the newest checkpoint; says what was done."""
  root = workdir / "checkpoints"
  names = find_files(root)
  newest = [name for name in names if name.startswith(f"{STEPS[-1]}/")]
  path = root / rng.choice(newest)
  kind = str(rng.choice(KINDS))
  data = bytearray(path.read_bytes())
  if kind == "delete":
    path.unlink()
  elif kind == "swap":
    other = root / rng.choice(names)
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)
  elif kind == "cut":
    path.write_bytes(data[: rng.integers(0, max(1, len(data)))])
  elif data:
    place = int(rng.integers(len(data)))
    if kind == "flip":
      data[place] ^= 1 << rng.integers(8)
    else:
      end = min(len(data), place + BLOCK)
      data[place:end] = bytes(end - place)
    path.write_bytes(data)
  return f"{kind} {path.relative_to(root)}"


def is_equal(found: TrainState, expected: TrainState) -> bool:
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
  return all(
    a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for a, b in pairs
  )


def judge(workdir: pathlib.Path) -> tuple[str, str]:
  """Restores; the outcome, and what was said."""
  said, answer = io.StringIO(), []

  def run() -> None:
    with contextlib.redirect_stderr(said):
      try:
        answer.append(restore(workdir))
      except (ValueError, OSError) as error:
        answer.append(error)
      except BaseException:
        answer.append(traceback.format_exc())

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(LIMIT)
  text = said.getvalue()
  if not answer:
    return "hang", text
  if isinstance(answer[0], str) or "Traceback" in text:
    return "traceback", f"{text}{answer[0]}"
  if isinstance(answer[0], Exception):
    return "error", f"{text}{answer[0]}"
  step, state = answer[0]
  is_said = all(
    f"checkpoint {newer} is passed over: " in text
    for newer in STEPS
    if newer > step
  )
  if step in STEPS and is_said and is_equal(state, make_state(step)):
    return ("right" if step == STEPS[-1] else "fallback"), text
  return "silent", text


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--cases", type=int, default=400)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--only", type=int, help="the number of one case")
  given = parser.parse_args()
  cases = range(given.cases) if given.only is None else [given.only]
  outcomes, kinds = collections.Counter(), collections.Counter()
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory)
    checkpointer = open_run(root / "run")
    for step in STEPS:
      checkpointer.save(make_state(step), step, step)
    checkpointer.close()
    with Progress("corruption", len(cases), "cases") as progress:
      for case in cases:
        workdir = root / f"case{case}"
        shutil.copytree(root / "run", workdir)
        rng = np.random.default_rng([given.seed, case])
        done = [damage(rng, workdir) for _ in range(rng.integers(1, 4))]
        outcome, said = judge(workdir)
        outcomes[outcome] += 1
        kinds.update(one.split()[0] for one in done)
        if outcome in ("silent", "hang", "traceback") or given.only is not None:
          print(f"case {case}: {outcome}: {', '.join(done)}\n{said}")
        shutil.rmtree(workdir, ignore_errors=True)
        progress.advance()
  bad = sum(outcomes[name] for name in ("silent", "hang", "traceback"))
  names = ("right", "fallback", "error", "silent", "hang", "traceback")
  result = {
    "cases": len(cases),
    "seed": given.seed,
    **{name: outcomes[name] for name in names},
    "damage": dict(sorted(kinds.items())),
  }
  print("RESULT " + json.dumps(result))
  sys.exit(bool(bad))


if __name__ == "__main__":
  main()
