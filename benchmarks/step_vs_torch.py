r"""Our training step beside the same step in PyTorch, on this machine.

Run:    python benchmarks/step_vs_torch.py [--rounds 7] [--setting toy] \
          [--peer torch-eager]
Needs:  torch, transformers; the machine to itself for about ten minutes

Each contender is a process of its own, started with the same environment
(large pages for glibc's heap); they take turns, a few steps at a time, of
which the first does not count (it finds cold caches). Ours is
the step that train.py runs, with augmentation and mask drawing inside; the
peer gets finished crops and masks. All start from the same weights and the
first losses are compared before anything is timed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SETTINGS = {
  # The quickstart's step, with the peer's KoLeo over the whole batch.
  "toy": ("objective.koleo_group_size=16",),
  # The paper's decoder and a finer picture.
  "toy-256x192": (
    "data.image_size=(256, 192)",
    "data.local_size=(128, 96)",
    "data.global_batch_size=4",
    "model.decoder_dim=512",
    "model.decoder_layers=8",
    "model.decoder_heads=16",
    "model.prototypes=1024",
    "model.head_hidden_dim=2048",
    "model.bottleneck_dim=256",
    "objective.koleo_group_size=4",
  ),
}
# Only shows that everything runs.
SMALLEST = {
  "smallest": (
    "data.image_size=(64, 48)",
    "data.local_size=(48, 16)",
    "data.global_batch_size=2",
    "model.decoder_layers=1",
    "objective.koleo_group_size=2",
  ),
}
PEERS = ("torch-eager", "torch-compiled")
CONTENDERS = ("ours", *PEERS)
# float32 sums in another order, through four blocks and a division by 0.065.
TOLERANCE = 2e-4
STEPS_A_TURN = 4


def load_config(setting: str):
  from sapiens2_jax import config as config_lib
  from sapiens2_jax import validation

  # LayerScale of order one, so that attention counts in the comparison; the
  # decoder's (peer) is set to one, which is what having none means.
  chosen = (SETTINGS | SMALLEST)[setting]
  overrides = (*chosen, "model.layer_scale_init=0.5")
  return config_lib.load_config(
    "experiments/pretrain.py:size=toy",
    list(overrides),
    lambda config: validation.validate(config, 1),
  )


def random_crops(config) -> dict:
  import numpy as np

  rng = np.random.default_rng(0)
  data = config.data
  b = data.global_batch_size

  def crops(views, size):
    # Smooth pictures: eight times enlarged noise plus some grain.
    coarse = rng.integers(0, 200, (1, b, views, *(s // 8 for s in size), 3))
    fine = coarse.repeat(8, axis=3).repeat(8, axis=4)
    return (fine + rng.integers(0, 56, fine.shape)).astype(np.uint8)

  return {
    "global_crops": crops(2, data.image_size),
    "local_crops": crops(4, data.local_size),
    "index": np.arange(b, dtype=np.int32)[None],
    "epoch": np.zeros((1, b), np.int32),
  }


def make_ours(config):
  """Returns (step() -> losses, weights and inputs for the peer)."""
  import jax

  from sapiens2_jax.parallel import mesh as mesh_lib
  from sapiens2_jax.pretrain.objective import build_pretrain
  from sapiens2_jax.training import optimizer, state, step

  mesh = mesh_lib.make_mesh(config.mesh)
  objective = build_pretrain(config)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state.abstract_state(config, objective, tx, mesh)
  holder = [state.init_state(0, objective, tx, abstract)]
  step_fn = step.jit_train_step(objective, tx, config, mesh, abstract)
  batches = jax.device_put(random_crops(config), mesh_lib.batch_sharding(mesh))

  def run():
    holder[0], metrics = step_fn(holder[0], batches)
    return {k: float(metrics[k]) for k in ("loss_mae", "loss_cl", "loss_koleo")}

  return run, objective, holder[0], batches


def make_peer(config, compiled: bool):
  """The PyTorch step with our initial weights and our views."""
  import jax
  import numpy as np
  import torch
  import torch_step

  from sapiens2_jax.architectures import get_architecture
  from sapiens2_jax.models.pixels import unpatchify

  _, objective, state, batches = make_ours(config)
  arch = get_architecture(config.model.size)
  data = config.data
  peer = torch_step.step_of(
    config, arch, peak_lr=config.optim.peak_lr, compiled=compiled
  )
  peer.load(peer_weights(jax.device_get(state.params), arch, peer))

  batch = jax.tree.map(lambda x: x[0], batches)
  rng = jax.random.wrap_key_data(state.rng)

  @jax.jit
  def see(batch):
    views = objective.make_views(batch, rng)
    crops = {
      name: unpatchify(
        patches, objective.encoder.grid(size).shape, arch.patch_size
      )
      for name, size, patches in (
        ("global_crops", data.image_size, views.patches),
        ("local_crops", data.local_size, views.local_patches),
      )
    }
    ids = {"visible_ids": views.visible_ids, "masked_ids": views.masked_ids}
    return {**crops, **ids}

  inputs = see(batch)
  tensors = {k: torch.from_numpy(np.array(v)) for k, v in inputs.items()}
  for name in ("visible_ids", "masked_ids"):
    tensors[name] = tensors[name].long()

  def run():
    losses = peer.step(
      tensors,
      lr=config.optim.peak_lr,
      teacher_temperature=config.objective.teacher_temp_start,
    )
    return {k: losses[k] for k in ("loss_mae", "loss_cl", "loss_koleo")}

  return run


def peer_weights(params: dict, arch, peer) -> dict:
  """Our parameters under the peer's names."""
  import numpy as np

  from sapiens2_jax.interop import convert

  encoder = convert.tensors_from_params(
    params["encoder"], arch, style="transformers", with_periods=False
  )
  weights = {f"backbone.{name}": x.load() for name, x in encoder.items()}
  head, decoder = params["head"], params["decoder"]

  def linear(name: str, layer: dict) -> None:
    weights[f"{name}.weight"] = layer["kernel"].T
    if "bias" in layer:
      weights[f"{name}.bias"] = layer["bias"]

  for i in range(3):
    linear(f"head.fc{i + 1}", head[f"mlp_{i}"])
  linear("head.prototypes", head["prototypes"])
  linear("decoder.embed", decoder["embed"])
  linear("decoder.output", decoder["predict"])
  shapes = {k: v.shape for k, v in peer.state_dict().items()}
  weights["decoder.mask_token"] = decoder["mask_token"].reshape(
    shapes["decoder.mask_token"]
  )
  weights["decoder.norm.weight"] = decoder["norm"]["scale"]
  stacked = decoder["blocks"]["segment_0"]
  for i in range(len(stacked["norm1"]["scale"])):
    prefix = f"decoder.layer.{i}"
    attention, ffn = stacked["attention"], stacked["ffn"]
    for ours, theirs in (
      ("q", "q_proj"),
      ("k", "k_proj"),
      ("v", "v_proj"),
      ("proj", "o_proj"),
    ):
      layer = {k: v[i] for k, v in attention[ours].items()}
      linear(f"{prefix}.attention.{theirs}", layer)
    for name in ("q_norm", "k_norm"):
      weights[f"{prefix}.attention.{name}.weight"] = attention[name]["scale"][i]
    for name in ("norm1", "norm2"):
      weights[f"{prefix}.{name}.weight"] = stacked[name]["scale"][i]
    for j, name in enumerate(("gate_proj", "up_proj")):
      weights[f"{prefix}.mlp.{name}.weight"] = ffn["w12"][i][j].T
      weights[f"{prefix}.mlp.{name}.bias"] = ffn["b12"][i][j]
    linear(f"{prefix}.mlp.down_proj", {k: v[i] for k, v in ffn["w3"].items()})
    weights[f"{prefix}.layer_scale1.lambda1"] = np.ones(
      shapes[f"{prefix}.layer_scale1.lambda1"], np.float32
    )
  return {k: np.ascontiguousarray(v) for k, v in weights.items()}


def matmul_seconds(size: int = 2048) -> float:
  import numpy as np

  a = np.ones((size, size), np.float32)
  times = []
  for _ in range(3):
    start = time.perf_counter()
    a @ a
    times.append(time.perf_counter() - start)
  return min(times)


def serve(contender: str, setting: str) -> None:
  """A worker: one step for each line on stdin, one JSON line as answer."""
  config = load_config(setting)
  if contender == "ours":
    run = make_ours(config)[0]
  else:
    run = make_peer(config, compiled=contender == "torch-compiled")
  for _ in sys.stdin:
    start = time.perf_counter()
    losses = run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, **losses}), flush=True)


class Worker:
  def __init__(self, contender: str, setting: str):
    env = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    self._process = subprocess.Popen(
      [sys.executable, __file__, "--serve", contender, "--setting", setting],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=env,
    )

  def step(self) -> dict:
    self._process.stdin.write("step\n")
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError("a worker died; its message stands above")
    return json.loads(line)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()


def compare(setting: str, rounds: int, peers: list[str]) -> dict:
  """Interleaved times of ours and the peers, and whether losses agree."""
  workers = {name: Worker(name, setting) for name in ("ours", *peers)}
  first = {}
  for name, worker in workers.items():
    first[name] = worker.step()
    print(f"{setting:12} {name:15} first step {first[name]}", flush=True)
  difference = max(
    abs(first[name][key] - first["ours"][key])
    for name in peers
    for key in ("loss_mae", "loss_cl", "loss_koleo")
  )
  if difference > TOLERANCE:
    raise SystemExit(
      f"{setting}: first losses differ by {difference:.2g}, more than "
      f"{TOLERANCE:.0e}: not the same step"
    )
  seconds = {name: [] for name in workers}
  matmul = []
  for i in range(rounds):
    matmul.append(matmul_seconds())
    for name, worker in workers.items():
      worker.step()
      for _ in range(STEPS_A_TURN):
        seconds[name].append(worker.step()["seconds"])
    print(
      f"{setting:12} round {i + 1}/{rounds}  "
      + "  ".join(
        f"{n} {min(s[-STEPS_A_TURN:]):.3f} s" for n, s in seconds.items()
      ),
      flush=True,
    )
  for worker in workers.values():
    worker.close()
  return summarize(setting, seconds, matmul, difference)


def summarize(setting, seconds, matmul, difference) -> dict:
  from sapiens2_jax.objectives import build_objective

  config = load_config(setting)
  useful = build_objective(config).flops() * config.data.global_batch_size
  median = {name: statistics.median(s) for name, s in seconds.items()}
  peers = [name for name in seconds if name != "ours"]
  fastest_peer = min(median[name] for name in peers)
  matmul_rate = 2 * 2048**3 / statistics.median(matmul)
  return {
    "setting": setting,
    "median_seconds": {n: round(s, 4) for n, s in median.items()},
    "best_seconds": {n: round(min(s), 4) for n, s in seconds.items()},
    "speed_against_fastest_peer": round(fastest_peer / median["ours"], 3),
    "speed_by_best_times": round(
      min(min(seconds[name]) for name in peers) / min(seconds["ours"]),
      3,
    ),
    "useful_gflop_a_step": round(useful / 1e9, 1),
    "useful_gflops": round(useful / median["ours"] / 1e9, 1),
    "matmul_gflops": round(matmul_rate / 1e9, 1),
    "share_of_matmul": round(useful / median["ours"] / matmul_rate, 3),
    "first_losses_differ_by": difference,
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--setting", choices=SETTINGS | SMALLEST, action="append")
  parser.add_argument("--peer", choices=PEERS, action="append")
  parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
  args = parser.parse_args()
  settings = args.setting or list(SETTINGS)
  if args.serve:
    serve(args.serve, settings[0])
    return
  peers = args.peer or list(PEERS)
  results = [compare(setting, args.rounds, peers) for setting in settings]
  print("RESULT " + json.dumps({"benchmark": "step_vs_torch", "runs": results}))


if __name__ == "__main__":
  main()
