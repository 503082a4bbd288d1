"""Parts of first_steps.py, each a process of its own, whose memory is its own.

Each writes what it found as JSON, last of all.
"""

import dataclasses
import hashlib
import math
import os
import pathlib
import shutil
import sys

import jax
import numpy as np
import true_step

from data_pipelines.common import files
from sapiens2_jax import validation
from sapiens2_jax.interop import exports, parity, verification, weights
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.runtime import compile_cache
from sapiens2_jax.training import data, starting
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.training.state import by_path

# What makes few steps mean something, on little memory; all else is what the
# experiments say. The rate is the paper's (or the release's) at its height.
SHARED = (
  "optim.warmup_steps=0",
  "optim.moments_dtype=bfloat16",
  "model.dtype=float32",  # faster here than bfloat16: see the matrix products
  "data.num_workers=0",
)
# Images of a step. KoLeo needs two.
IMAGES = {"0.4b": 1, "0.8b": 1, "1b": 1}
SAVED, COMPARED = 1, 2  # steps done
PARTS = ("mae", "cl", "koleo")  # of the loss
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a part finds what others made and leaves what it makes.

  Attributes:
    folder: that of its result.
    limit_gib: memory that the part may take.
  """

  folder: pathlib.Path
  limit_gib: float

  @property
  def workdir(self) -> str:
    return str(self.folder / "run")

  @property
  def export(self) -> str:
    return str(self.folder / "transformers")

  @property
  def hashes(self) -> pathlib.Path:
    return self.folder / "hashes.json"


def pretrain_config(size: str, corpus: str, overrides: tuple[str, ...]):
  count = IMAGES.get(size, 2)
  koleo = f"koleo_group_size={count}" if count > 1 else "w_koleo=0"
  own = (f"data.global_batch_size={count}", f"objective.{koleo}")
  return true_step.load_config(
    f"pretrain:size={size}",
    [*SHARED, *own, f"data.path={corpus}", *overrides],
  )


def start(true: true_step.Step, workdir: str):
  """The state as train.py makes or restores it, and the first batch."""
  source = data.open_source(true.objective)
  checkpointer = Checkpointer(
    workdir, true.config, validation.read_config, data=data.describe(source)
  )
  state, _ = starting.restore_or_init(
    *(true.objective, checkpointer, true.tx, true.abstract),
    *(open_parts, load_pretrained),
  )
  loader = data.make_prefetcher(
    true.objective, source, true.mesh, start_step=0, num_steps=1
  )
  batch = next(loader).batch
  loader.close()
  return state, checkpointer, batch


def hashes(tree) -> dict[str, str]:
  """SHA-256 of each array."""

  def one(array) -> str:
    # Of a handle that goes: an array that NumPy looks at is not donated.
    values = np.ascontiguousarray(array.addressable_data(0))
    return hashlib.sha256(values.view(np.uint8)).hexdigest()

  return {name: one(array) for name, array in by_path(tree).items()}


def matmuls() -> dict[str, float]:
  return {dtype: true_step.matmul_flops(dtype) for dtype in DTYPES}


def speed(true: true_step.Step, core_seconds: list[float], products) -> dict:
  """Useful FLOPs beside those of matrix products before and after."""
  useful = true.objective.flops() * true.config.data.global_batch_size
  mean = {dtype: np.mean([x[dtype] for x in products]) for dtype in DTYPES}
  rate = useful / np.median(core_seconds)
  return {
    "useful_tflop": round(useful / 1e12, 2),
    "useful_gflops": round(rate / 1e9, 1),
    "matmul_gflops": {k: round(x / 1e9, 1) for k, x in mean.items()},
    "share_of_matmul": round(rate / mean[true.config.model.dtype], 3),
  }


def check_finite(losses: list[float]) -> None:
  if not all(map(math.isfinite, losses)):
    raise SystemExit(f"losses {losses}: expected finite ones")


def take_steps(
  place: Place, size: str, corpus: str, count: str, *overrides: str
) -> dict:
  """Steps on one batch; a checkpoint after the first of them."""
  shutil.rmtree(place.workdir, ignore_errors=True)
  true = true_step.Step(pretrain_config(size, corpus, overrides))
  config, learned = true.config, jax.tree.leaves(true.abstract.params)
  found = {
    "parameters": true.objective.encoder.architecture.num_params,
    "learned": sum(x.size for x in learned),
    "images": config.data.global_batch_size,
    "image_size": list(config.data.image_size),
    "dtype": config.model.dtype,
    "compile_seconds": round(true.compile_seconds, 1),
    "account_gib": round(true.account_gib, 2),
    "limit_gib": round(place.limit_gib, 2),
    "fits": true.account_gib < place.limit_gib,
  }
  print(f"{size}: compiled, {true.account_gib:.1f} GiB a step", flush=True)
  if not found["fits"]:
    return found
  true_step.end_above(place.limit_gib)
  state, checkpointer, batch = start(true, place.workdir)
  products, taken = [matmuls()], []
  for number in range(1, int(count) + 1):
    state, metrics, seconds, core_seconds = true.take(state, batch)
    taken.append((metrics, seconds, core_seconds))
    parts = " ".join(f"{k} {metrics.get(f'loss_{k}', 0):.4f}" for k in PARTS)
    print(
      f"{size}: step {number}  loss {metrics['loss']:.4f} ({parts})  "
      f"{seconds:.1f} s, {core_seconds:.1f} of a core",
      flush=True,
    )
    if number == SAVED:
      found["steps_peak_gib"] = round(true_step.peak_gib(), 2)
      checkpointer.save(state, number, config.data.global_batch_size)
      checkpointer.close()
      print(f"{size}: saved, {true_step.peak_gib():.1f} GiB", flush=True)
    if number == COMPARED:
      files.write_json(place.hashes, hashes(state))
  products.append(matmuls())
  losses = [metrics["loss"] for metrics, _, _ in taken]
  check_finite(losses)
  return found | {
    "lr": taken[0][0]["lr"],
    "losses": losses,
    "falls": bool(np.all(np.diff(losses) < 0)),
    **{
      f"losses_{k}": [metrics[f"loss_{k}"] for metrics, _, _ in taken]
      for k in PARTS
      if f"loss_{k}" in taken[0][0]
    },
    "seconds": [round(x, 1) for _, x, _ in taken],
    "core_seconds": [round(x, 1) for _, _, x in taken],
    **speed(true, [x for _, _, x in taken], products),
    "peak_gib": round(true_step.peak_gib(), 2),
  }


def resume(place: Place, size: str, corpus: str, *overrides: str) -> dict:
  """The second step again, from the checkpoint; then an export of that."""
  if not files.read_json(place.folder / "steps.json")["fits"]:
    return {}
  true_step.end_above(place.limit_gib)
  true = true_step.Step(pretrain_config(size, corpus, overrides))
  state, checkpointer, batch = start(true, place.workdir)
  if int(state.step) != SAVED:
    raise SystemExit(f"{place.workdir}: step {state.step}, expected {SAVED}")
  state, *_ = true.take(state, batch)
  again, before = hashes(state), files.read_json(place.hashes)
  differing = [name for name, x in before.items() if again[name] != x]
  print(f"{size}: {len(differing)} of {len(before)} arrays differ", flush=True)
  if differing:
    raise SystemExit(f"{size}: not as without a stop: {differing[:5]}")
  checkpointer.close()
  del state, batch
  found = {"resumed_arrays": len(before), "equal_arrays": len(before)}
  found["transformers"] = export(place, corpus, true.config.data.local_size)
  shutil.rmtree(place.workdir)
  return found


def export(place: Place, corpus: str, size: tuple[int, int]) -> dict:
  """The teacher in transformers, and in ours, on a photograph."""
  found = weights.find_weights(place.workdir)
  request = exports.make_request(found, "transformers", None)
  shutil.rmtree(place.export, ignore_errors=True)
  exports.write_export(
    place.export, found, weights.read_weights(found), request
  )
  theirs, keys = parity.torch_forward(place.export)
  ours = verification.load_ours(
    verification.read_marker(place.export), place.workdir
  )
  photograph = verification.photographs(corpus, tuple(size))[:1]
  result = parity.compare(ours, theirs, photograph)
  worst, relative = (
    float(np.max([x for name, x in result.items() if name.endswith(kind)]))
    for kind in (parity.DIFFERENCE, parity.RELATIVE)
  )
  print(f"transformers: {worst:.1e} of {result['max_abs_output']:.1f}")
  is_close = relative <= verification.TOLERANCE  # False for NaN
  if any(keys.values()) or not is_close:
    raise SystemExit(f"{place.export}: {keys}, {result}")
  return {
    "image_size": result["size"],
    "max_abs_difference": worst,
    "max_abs_output": result["max_abs_output"],
  }


def fine_tune(
  place: Place, name: str, size: str, people: str, init_from: str
) -> dict:
  """One step of a task, from an export of pretraining."""
  if not os.path.exists(init_from):
    raise SystemExit(f"{init_from}: no export; did {size} fit the memory?")
  true_step.end_above(place.limit_gib)
  shutil.rmtree(place.workdir, ignore_errors=True)
  config = true_step.load_config(
    f"finetune:task={name},size={size}",
    [
      *SHARED,
      *("data.global_batch_size=1", f"data.path={people}"),
      f"model.init_from={init_from}",
    ],
  )
  true = true_step.Step(config)
  print(f"{name}: compiled, {true.account_gib:.1f} GiB a step", flush=True)
  state, checkpointer, batch = start(true, place.workdir)
  checkpointer.close()
  before, products = hashes(state.params), [matmuls()]
  state, metrics, seconds, core_seconds = true.take(state, batch)
  products.append(matmuls())
  check_finite([metrics["loss"]])
  after = hashes(state.params)
  changed = sum(after[name] != x for name, x in before.items())
  print(f"{name}: loss {metrics['loss']:.4f}  {seconds:.1f} s", flush=True)
  shutil.rmtree(place.workdir)
  return {
    "image_size": list(config.data.image_size),
    "learned": sum(x.size for x in jax.tree.leaves(state.params)),
    "loss": metrics["loss"],
    "grad_norm": metrics["grad_norm"],
    "lr": metrics["lr"],
    "changed_arrays": changed,
    "arrays": len(before),
    "compile_seconds": round(true.compile_seconds, 1),
    "seconds": round(seconds, 1),
    "core_seconds": round(core_seconds, 1),
    **speed(true, [core_seconds], products),
    "peak_gib": round(true_step.peak_gib(), 2),
  }


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  made = {"steps": take_steps, "resume": resume, "task": fine_tune}
  part, result, limit, *arguments = sys.argv[1:]
  folder = pathlib.Path(os.path.abspath(result)).parent
  place = Place(folder, float(limit))
  place.folder.mkdir(parents=True, exist_ok=True)
  compile_cache.keep_in(str(place.folder.parent / "compile_cache"))
  files.write_json(result, made[part](place, *arguments))
