r"""Our training step on one GPU beside the same step in PyTorch.

Run:    python benchmarks/gpu.py [--seconds 460] [--size 0.1b --size 0.4b]
Needs:  one NVIDIA GPU; jax[cuda12], torch, transformers; under eight minutes

First every head width and length of the models: cuDNN's attention and XLA's in
bfloat16, forward and gradients, against XLA's in float32. Then, size by size
at 1024 x 768, the step that train.py runs (augmentation and mask drawing
inside, remat=block), and the peer of torch_step.py: transformers' layers, each
with torch.compile, bfloat16 autocast, SDPA, fused AdamW, views given. The batch
is the largest that planning/gpu_plan.py finds room for; the peer's is halved
until it fits, as it keeps more.

Each part is a process of its own, so that none holds memory of another, and is
stopped at the end of its time. What no longer fits in --seconds is left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SIZES = ("0.1b", "0.4b", "0.8b")
BATCHES = (32, 16, 8, 4, 2)
# Head width, tokens; student and teacher at 1024 x 768, decoder.
ATTENTION = (
  *((64, 777), (76, 777), (80, 777), (64, 3081), (76, 3081), (80, 3081)),
  (128, 3072),
)
# A part is not begun with less time left (seconds), and gets no larger share of
# all time.
_LEAST, _MOST = 50, 0.37
_STEPS, _STEP_SECONDS = 8, 20
_PART = "PART "


def ours_config(size: str, batch: int, smallest: bool):
  from sapiens2_jax import config as config_lib
  from sapiens2_jax import validation

  overrides = [
    f"data.global_batch_size={batch}",
    f"objective.koleo_group_size={batch}",
    "model.remat=block",
  ]
  if smallest:
    overrides += [
      *("data.image_size=(64, 48)", "data.local_size=(48, 16)"),
      "model.decoder_layers=1",
    ]
  return config_lib.load_config(
    f"experiments/pretrain.py:size={size}",
    overrides,
    lambda config: validation.validate(config, 1),
  )


def time_steps(step) -> tuple[float, float]:
  """Seconds of the first two steps, and the median of some more."""
  start = time.perf_counter()
  step()
  step()
  first = time.perf_counter() - start
  seconds = []
  start = time.perf_counter()
  while len(seconds) < 2 or (
    len(seconds) < _STEPS and time.perf_counter() - start < _STEP_SECONDS
  ):
    before = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - before)
  return first, statistics.median(seconds)


def check_attention(smallest: bool) -> dict:
  """Errors against float32 and milliseconds, of each backend and shape."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from sapiens2_jax.models import partition
  from sapiens2_jax.models.attention import attention, choose_backend

  chosen = choose_backend(
    *(partition.platform(), jnp.bfloat16, 64, partition.compute_capability())
  )
  print(f"attention: auto is {chosen[0]}: {chosen[1]}", flush=True)

  def function(backend):
    def loss(q, k, v):
      out = attention(q, k, v, backend=backend)
      weights = jnp.cos(jnp.arange(out.size)).reshape(out.shape)
      return jnp.sum(weights * out.astype(jnp.float32)), out

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    return lambda arrays: jax.tree.leaves(grad(*arrays))

  def error(found, exact):
    return max(
      float(jnp.abs(a.astype(jnp.float32) - b).max() / jnp.abs(b).max())
      for a, b in zip(found, exact)
    )

  rows, shapes = [], ATTENTION[:1] if smallest else ATTENTION
  for head_dim, tokens in shapes:
    tokens = 129 if smallest else tokens
    rng = np.random.default_rng(0)
    arrays = [
      jnp.asarray(rng.normal(size=(2, h, head_dim, tokens)), jnp.bfloat16)
      for h in (8, 4, 4)
    ]
    with jax.default_matmul_precision("highest"):
      exact = function("xla")([x.astype(jnp.float32) for x in arrays])
    row = {"head_dim": head_dim, "tokens": tokens}
    for backend in dict.fromkeys(("xla", "cudnn", chosen[0])):
      run = function(backend)
      row[f"{backend}_error"] = error(run(arrays), exact)
      start = time.perf_counter()
      for _ in range(5):
        found = run(arrays)
      jax.block_until_ready(found)
      milliseconds = 1000 * (time.perf_counter() - start) / 5
      row[f"{backend}_ms"] = round(milliseconds, 3)
    # Both round to 16 bits, in different places.
    row["agrees"] = row["cudnn_error"] < 2 * row["xla_error"] + 1e-3
    rows.append(row)
    print(f"attention: {json.dumps(row)}", flush=True)
  return {
    "card": jax.devices()[0].device_kind,
    "auto": chosen[0],
    "agrees": all(row["agrees"] for row in rows),
    "shapes": rows,
  }


def time_ours(size: str, batch: int, smallest: bool) -> dict:
  import jax
  import numpy as np

  from sapiens2_jax.gpus import find_gpu
  from sapiens2_jax.objectives import build_objective
  from sapiens2_jax.parallel import mesh as mesh_lib
  from sapiens2_jax.planning import compiling
  from sapiens2_jax.training import optimizer, state
  from sapiens2_jax.training.step import jit_train_step

  (device, *_) = jax.devices()
  gpu = find_gpu(device.device_kind)
  batch = batch or choose_batch(size, device)
  config = ours_config(size, batch, smallest)
  mesh = mesh_lib.make_mesh(config.mesh, [device])
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state.abstract_state(config, objective, tx, mesh)
  holder = [state.init_state(0, objective, tx, abstract)]
  train_step = jit_train_step(objective, tx, config, mesh, abstract)
  rng = np.random.default_rng(0)
  shapes = compiling.abstract_batches(objective, mesh)
  batches = jax.device_put(
    {
      k: rng.integers(0, 200, x.shape).astype(x.dtype)
      for k, x in shapes.items()
    },
    mesh_lib.batch_sharding(mesh),
  )

  def step():
    holder[0], metrics = train_step(holder[0], batches)
    return float(metrics["loss"])

  first, seconds = time_steps(step)
  stats = device.memory_stats() or {}
  return {
    "card": device.device_kind,
    "loss": step(),
    **speed(batch, first, seconds),
    "peak_bytes": stats.get("peak_bytes_in_use") or resident_bytes(),
    "useful_flops": objective.flops() * batch,
    "peak_flops": gpu and gpu.peak_flops,
  }


def choose_batch(size: str, device) -> int:
  """The largest batch that the account finds room for on this card."""
  import dataclasses

  from sapiens2_jax.gpus import GPUS, find_gpu
  from sapiens2_jax.planning import gpu_plan

  limit = (device.memory_stats() or {}).get("bytes_limit")
  gpu = find_gpu(device.device_kind) or GPUS["l4"]
  for batch in BATCHES:
    plan = gpu_plan.make_plan(ours_config(size, batch, False), gpu, 1)
    if limit is not None:
      whole = dataclasses.replace(gpu, memory_bytes=limit)
      plan = dataclasses.replace(plan, gpu=whole)
    if plan.fits:
      return batch
  raise SystemExit(f"{size}: not even {BATCHES[-1]} images fit.")


def time_torch(size: str, batch: int, smallest: bool, eager: bool) -> dict:
  import numpy as np
  import torch
  import torch_step
  from transformers.models.sapiens2.modeling_sapiens2 import Sapiens2Layer

  from sapiens2_jax.architectures import get_architecture

  device = "cuda" if torch.cuda.is_available() else "cpu"
  config = ours_config(size, batch, smallest)
  arch, data = get_architecture(size), config.data
  torch.manual_seed(0)
  peer = torch_step.step_of(config, arch).to(device)
  if not eager:
    for module in peer.modules():
      if isinstance(module, Sapiens2Layer):
        module.compile()
  losses = peer.losses_fn

  def autocast(*arguments):
    with torch.autocast(device, torch.bfloat16):
      return losses(*arguments)

  peer.losses_fn = autocast
  arrays = torch_step.random_batch(
    0, batch_size=batch, image_size=tuple(data.image_size)
  )
  local = (batch, 4, *data.local_size, 3)
  arrays["local_crops"] = np.random.default_rng(0).random(local, np.float32)
  inputs = {k: torch.from_numpy(x).to(device) for k, x in arrays.items()}
  first, seconds = time_steps(lambda: peer.step(inputs))
  peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
  return {
    "loss": peer.step(inputs)["loss"],
    **speed(batch, first, seconds),
    "peak_bytes": peak or resident_bytes(),
  }


def speed(batch: int, first: float, seconds: float) -> dict:
  return {
    "batch": batch,
    "first_steps_seconds": round(first, 1),
    "step_seconds": round(seconds, 4),
    "images_per_second": round(batch / seconds, 3),
  }


def resident_bytes() -> int:
  """The most that this process held; where there is no GPU."""
  import resource

  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(given) -> None:
  """One part, in a process of its own."""
  if given.part == "attention":
    found = check_attention(given.smallest)
  elif given.part == "ours":
    found = time_ours(given.size[0], given.batch, given.smallest)
  else:
    found = time_torch(given.size[0], given.batch, given.smallest, given.eager)
  print(_PART + json.dumps(found), flush=True)


def run_part(part: str, seconds: float, *arguments: str) -> dict:
  """What a part found, or {"failed": why}."""
  env = {
    **os.environ,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
  }
  if part == "torch":
    env["JAX_PLATFORMS"] = "cpu"  # Leaves the GPU to PyTorch.
  command = [sys.executable, os.path.abspath(__file__), "--part", part]
  try:
    done = subprocess.run(
      [*command, *arguments],
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      timeout=seconds,
    )
  except subprocess.TimeoutExpired:
    return {"failed": f"stopped after {seconds:.0f} s"}
  lines = done.stdout.splitlines()
  for line in lines:
    if line.startswith("attention:"):
      print(line, flush=True)
  if done.returncode == 0 and lines and lines[-1].startswith(_PART):
    return json.loads(lines[-1].removeprefix(_PART))
  no_memory = "out of memory" in done.stdout.lower() or (
    "RESOURCE_EXHAUSTED" in done.stdout
  )
  print("\n".join(lines[-15:]), file=sys.stderr, flush=True)
  return {"failed": "out of memory" if no_memory else "see above"}


def add_mfu(found: dict, ours: dict) -> None:
  """With the useful FLOPs of our step; None where the card's peak is not known.

  Args:
    found: of `time_ours` or `time_torch`, at its own batch.
    ours: of `time_ours`.
  """
  if "failed" in found:
    return
  found["mfu"] = None
  if ours.get("peak_flops"):
    flops = ours["useful_flops"] / ours["batch"] * found["batch"]
    reached = flops / found["step_seconds"] / ours["peak_flops"]
    found["mfu"] = round(reached, 4)


def show(size: str, name: str, found: dict) -> None:
  if "failed" in found:
    print(f"{size} {name}: {found['failed']}", flush=True)
    return
  mfu = "-" if found["mfu"] is None else f"{found['mfu']:.1%}"
  print(
    f"{size} {name}: batch {found['batch']}, "
    f"{found['images_per_second']:.2f} images/s, MFU {mfu}, peak memory "
    f"{found['peak_bytes'] / 2**30:.2f} GiB, step "
    f"{found['step_seconds']:.3f} s (first two "
    f"{found['first_steps_seconds']:.0f} s)",
    flush=True,
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seconds", type=float, default=460, help="in all")
  parser.add_argument("--size", action="append", help=f"default: {SIZES}")
  parser.add_argument("--batch", type=int, default=0, help="0: what fits")
  parser.add_argument("--eager", action="store_true", help="no torch.compile")
  parser.add_argument(
    "--smallest", action="store_true", help="only shows that everything runs"
  )
  parser.add_argument("--part", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.part:
    work(given)
    return
  end = time.monotonic() + given.seconds
  flags = [f"--{f}" for f in ("smallest", "eager") if getattr(given, f)]
  card, runs, left_out = None, [], []

  def attempt(part: str, size: str, batch: int) -> dict | None:
    left = end - time.monotonic()
    if left < _LEAST:
      left_out.append(f"{size} {part}".strip())
      return None
    chosen = ["--size", size, "--batch", str(batch)] if size else []
    return run_part(part, min(left, _MOST * given.seconds), *chosen, *flags)

  attention = attempt("attention", "", 0)
  card = (attention or {}).get("card")
  for size in given.size or SIZES:
    ours = attempt("ours", size, given.batch)
    if ours is None:
      continue
    add_mfu(ours, ours)
    show(size, "ours", ours)
    card = card or ours.get("card")
    run = {"size": size, "ours": ours}
    runs.append(run)
    batch = ours.get("batch", given.batch or BATCHES[-1])
    while batch and (peer := attempt("torch", size, batch)) is not None:
      add_mfu(peer, ours)
      show(size, "torch", peer)
      run["torch"] = peer
      if peer.get("failed") != "out of memory":
        break
      batch //= 2
    both = (ours, run.get("torch", {"failed": ""}))
    if not any("failed" in found for found in both):
      rates = [found["images_per_second"] for found in both]
      run["speed_against_torch"] = round(rates[0] / rates[1], 3)
  for name in left_out:
    print(f"left out, no time: {name}", flush=True)
  result = {
    "benchmark": "gpu",
    "card": card,
    "attention": attention,
    "runs": runs,
    "left_out": left_out,
    "seconds": round(given.seconds - (end - time.monotonic())),
  }
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
