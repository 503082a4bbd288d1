r"""Our loader beside a torchvision v2 multi-crop of the same crops.

Run:    python benchmarks/loader.py --torchvision PYTHON \
          --photo annie-spratt.jpg --photo christophe_henner.jpg
Needs:  PYTHON, an interpreter with torchvision (its own environment: see
        benchmarks/README.md), without it there is no peer; the machine to
        itself for about ten minutes

Paper sizes: of each photograph two global crops of 1024 x 768 and four local
ones of 512 x 384. Each contender is a process pinned to one core; they take
turns. `ours` is the host path that train.py runs (read, decode once, crop);
`ours+augment` adds flip, colours, blur, solarize, normalise and patchify on
the same core, as the step does them on the device. The peer decodes once,
crops with antialiasing and augments on the host, which is how such pipelines
are used; it comes in three variants, and the fastest counts.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

IMAGES_A_TURN = 4
NUM_PLANS = 64
PEERS = {
  "pil bicubic": ("pil", "bicubic"),
  "pil bilinear": ("pil", "bilinear"),
  "tensor bilinear": ("tensor", "bilinear"),
}
OURS = ("ours", "ours+augment")
V5P_CHIPS = 4
ASSUMED_MFU = 0.6
SIZES = ("0.1b", "0.4b", "0.8b", "1b", "5b")


def make_config(*overrides: str):
  from sapiens2_jax import config as config_lib

  return config_lib.load_config(
    "experiments/pretrain.py:size=toy",
    [
      "data.image_size=(1024, 768)",
      "data.local_size=(512, 384)",
      "data.global_batch_size=1",
      *overrides,
    ],
    lambda config: [],
  )


@functools.cache
def open_photo(path: str):
  """A corpus of one photograph."""
  from data_pipelines import build_corpus
  from data_pipelines.open_source import open_source

  directory = pathlib.Path(tempfile.mkdtemp())
  (directory / "images").mkdir()
  name = pathlib.Path(path).name
  (directory / "images" / name).symlink_to(pathlib.Path(path).resolve())
  build_corpus.build_corpus([directory / "images"], directory / "corpus")
  return open_source(directory / "corpus")


def make_plans(path: str) -> list[dict]:
  """What the peer cuts: the boxes that our loader draws, in whole pixels."""
  from data_pipelines.loading import crops
  from sapiens2_jax.pretrain.crops import crop_config

  config = crop_config(make_config())
  record = open_photo(path)[0]
  plans = []
  for epoch in range(NUM_PLANS):
    boxes = crops.draw_boxes(
      record.height, record.width, config, seed=0, index=0, epoch=epoch
    )
    plans.append(
      {
        "boxes": [np.round(group).astype(int).tolist() for group in boxes],
        "sizes": [config.global_size, config.local_size],
      }
    )
  return plans


def make_loader(path: str, **changes):
  import dataclasses

  from data_pipelines.loading import loader
  from sapiens2_jax.pretrain.objective import build_pretrain
  from sapiens2_jax.training import data

  settings = {"num_workers": 0, "num_threads": 0, "prefetch": 0} | changes
  objective = build_pretrain(make_config())
  config = dataclasses.replace(data.loader_config(objective), **settings)
  return loader.make_loader(
    open_photo(path), config, start_step=0, num_steps=10**6
  )


def make_augment():
  """The device part of the views, as the step has it, jitted."""
  import jax

  from sapiens2_jax.pretrain.objective import build_pretrain

  objective = build_pretrain(make_config())
  rng = jax.random.key(0)

  @jax.jit
  def patches(batch):
    views = objective.make_views(batch, rng)
    return views.patches, views.local_patches

  def run(batch):
    first = {name: array[0] for name, array in batch.items()}
    jax.block_until_ready(patches(first))

  return run


def serve(contender: str, photos: list[str]) -> None:
  """Answers lines NAME COUNT with the seconds of each image."""
  from data_pipelines.common import memory

  memory.keep_freed_memory()  # As each data worker does.
  loaders = {path: make_loader(path) for path in photos}
  augment = make_augment() if contender == "ours+augment" else None
  for line in sys.stdin:
    path, count = line.rstrip("\n").split("\t")
    seconds = []
    for _ in range(int(count)):
      start = time.perf_counter()
      batch, _ = next(loaders[path])
      if augment is not None:
        augment(batch)
      seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds), flush=True)


class Contender:
  """A process on one core that answers line by line."""

  def __init__(self, command: list[str], core: int):
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )

  def ask(self, *parts: object):
    self._process.stdin.write("\t".join(map(str, parts)) + "\n")
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError("a contender died; its message stands above")
    return json.loads(line)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()


def agreement(path: str, plans: str) -> float:
  """PSNR in dB of our crops of the first epoch beside the peer's."""
  batch, _ = next(make_loader(path))
  with np.load(f"{plans}.npz") as peer:
    pairs = list(zip(("global_crops", "local_crops"), peer.values()))
  errors = [
    np.mean((batch[name][0, 0].astype(float) - theirs) ** 2)
    for name, theirs in pairs
  ]
  return float(10 * np.log10(255**2 / np.mean(errors)))


def compare(python: str | None, photos: list[str], rounds: int) -> dict:
  """Interleaved seconds an image of all contenders; peers need `python`."""
  directory = pathlib.Path(tempfile.mkdtemp())
  plans = directory / "plans.json"
  plans.write_text(json.dumps({path: make_plans(path) for path in photos}))
  core = max(os.sched_getaffinity(0))
  script = pathlib.Path(__file__).with_name("torchvision_crops.py")
  contenders = {
    name: Contender(
      [sys.executable, __file__, "--serve", name]
      + [f"--photo={path}" for path in photos],
      core,
    )
    for name in OURS
  }
  peers = PEERS if python else {}
  for name, (kind, interpolation) in peers.items():
    arguments = ["--plans", plans, "--kind", kind]
    arguments += ["--interpolation", interpolation]
    contenders[name] = Contender([python, script, *arguments], core)
  results = {}
  for path in photos:
    results[path] = {"seconds": {name: [] for name in contenders}}
    if python:
      contenders["pil bicubic"].ask("CHECK", path)
      psnr = round(agreement(path, str(plans)), 1)
      results[path]["psnr_of_crops"] = psnr
  for number in range(rounds + 1):
    for path in photos:
      seconds = results[path]["seconds"]
      for name, contender in contenders.items():
        taken = contender.ask(path, IMAGES_A_TURN)
        if number:  # The first round warms up and compiles.
          seconds[name] += taken
      if number:
        medians = "  ".join(
          f"{name} {statistics.median(s) * 1e3:.0f} ms"
          for name, s in seconds.items()
        )
        print(f"round {number}/{rounds}  {pathlib.Path(path).name}  {medians}")
  for contender in contenders.values():
    contender.close()
  return {path: summarize(result) for path, result in results.items()}


def summarize(result: dict) -> dict:
  seconds = result.pop("seconds")
  median = {name: statistics.median(s) for name, s in seconds.items()}
  summary = {
    **result,
    "images_per_second": {n: round(1 / s, 2) for n, s in median.items()},
    "best_seconds": {name: round(min(s), 4) for name, s in seconds.items()},
  }
  peers = [median[name] for name in PEERS if name in median]
  for name in OURS if peers else ():
    for title, peer in (
      ("fastest", min(peers)),
      ("pil bicubic", median["pil bicubic"]),
    ):
      summary[f"{name} against {title}"] = round(peer / median[name], 2)
  return summary


def measure_workers(path: str, count: int, images: int) -> float:
  """Images a second with data processes, all cores, after a start."""
  made = make_loader(
    path, num_workers=count, num_threads=1, prefetch=2, global_batch_size=4
  )
  for _ in range(4):
    next(made)
  start = time.perf_counter()
  for _ in range(images // 4):
    next(made)
  seconds = time.perf_counter() - start
  made.close()
  return images / seconds


def measure_reader(photos: list[str], num_records: int) -> dict:
  """Records a second at random places, beside array_record alone."""
  from array_record.python import array_record_data_source

  from data_pipelines import build_corpus, sources
  from data_pipelines.open_source import open_source

  directory = pathlib.Path(tempfile.mkdtemp())
  folder = directory / "images"
  folder.mkdir()
  data = pathlib.Path(photos[0]).read_bytes()
  for number in range(num_records):
    # Bytes behind the end of a JPEG make each file another one.
    (folder / f"{number:05}.jpg").write_bytes(data + number.to_bytes(4, "big"))
  build_corpus.build_corpus([folder], directory / "corpus", shard_size=100)
  ours = open_source(directory / "corpus")
  shards = sorted(map(str, (directory / "corpus").glob("*.array_record")))
  alone = array_record_data_source.ArrayRecordDataSource(shards)
  retrying = sources.RetryingSource(ours, attempts=5, timeout=60)
  order = np.random.default_rng(0).permutation(num_records).tolist()
  rates = {"array_record": [], "ours": [], "ours with retries": []}
  for _ in range(6):
    for name, reader in zip(rates, (alone, ours, retrying)):
      start = time.perf_counter()
      for index in order:
        reader[index]
      rates[name].append(num_records / (time.perf_counter() - start))
  medians = {name: statistics.median(rate) for name, rate in rates.items()}
  return {
    "record_bytes": len(data),
    **{name: round(rate) for name, rate in medians.items()},
    "share_of_array_record": round(
      medians["ours with retries"] / medians["array_record"], 3
    ),
  }


def cores_needed(images_per_second: float) -> dict:
  """Host cores that feed four v5p chips, at an assumed MFU."""
  from sapiens2_jax import chips
  from sapiens2_jax.pretrain.objective import build_pretrain

  needed = {}
  for size in SIZES:
    config = make_config(f"model.size={size}")
    useful = build_pretrain(config).flops()
    rate = V5P_CHIPS * chips.CHIPS["v5p"].peak_flops * ASSUMED_MFU / useful
    needed[size] = {
      "images_per_second": round(rate, 1),
      "cores": round(rate / images_per_second, 1),
    }
  return needed


def bytes_per_image() -> dict:
  from sapiens2_jax.pretrain.crops import crop_config

  crops = crop_config(make_config())
  pixels = sum(
    count * size[0] * size[1] * 3
    for count, size in (
      (crops.num_global, crops.global_size),
      (crops.num_local, crops.local_size),
    )
  )
  return {"uint8": pixels, "float32_would_be": 4 * pixels}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--torchvision", help="interpreter with torchvision")
  parser.add_argument("--photo", action="append", required=True)
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument("--images", type=int, default=48, help="of workers")
  parser.add_argument("--records", type=int, default=1000, help="of the reader")
  parser.add_argument("--serve", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.serve:
    serve(given.serve, given.photo)
    return
  result = {"photos": {}}
  compared = compare(given.torchvision, given.photo, given.rounds)
  for path, summary in compared.items():
    summary["workers"] = {
      count: round(measure_workers(path, count, given.images), 1)
      for count in (1, 2)
    }
    rate = summary["images_per_second"]["ours"]
    summary["cores_for_4_v5p_at_60_percent_mfu"] = cores_needed(rate)
    result["photos"][pathlib.Path(path).name] = summary
  result["reader"] = measure_reader(given.photo, given.records)
  result["bytes_per_image"] = bytes_per_image()
  result["bytes_per_step_of_2048"] = 2048 * result["bytes_per_image"]["uint8"]
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
