"""Memory of the loader over many batches of a very large index.

Run:    python benchmarks/loader_memory.py --picture docs/loader_memory.png
Needs:  about five minutes on two cores

A made-up source of a billion records (64 small JPEGs, again and again) is
read in shuffled order; the resident memory of the main process and of its
data worker is noted every 100 batches and drawn.
"""

import argparse
import io
import json
import multiprocessing
import time

import numpy as np
import psutil
from PIL import Image

from data_pipelines.corpus import records
from data_pipelines.loading import crops, loader
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.sources import base

NUM_RECORDS = 10**9
WARM_UP = 0.1  # Share of batches; caches fill up there.


class ManySource:
  """A billion records made of a few images."""

  def __init__(self):
    rng = np.random.default_rng(0)
    self._images = []
    for _ in range(64):
      pixels = rng.integers(0, 256, (8, 6, 3), np.uint8)
      photo = Image.fromarray(pixels).resize((72, 96), Image.BICUBIC)
      buffer = io.BytesIO()
      photo.save(buffer, "JPEG")
      self._images.append(buffer.getvalue())

  def __len__(self) -> int:
    return NUM_RECORDS

  def __getitem__(self, index: int) -> records.Record:
    base.check_index(index, NUM_RECORDS)
    return base.make_image_record(self._images[index % 64], self.name(index))

  def name(self, index: int) -> str:
    return f"record {index}"

  def location(self, index: int) -> str:
    return "memory"


def measure(num_batches: int) -> list[dict]:
  config = loader.LoaderConfig(
    PretrainExamples(
      crops.CropConfig(global_size=(32, 24), local_size=(16, 12))
    ),
    global_batch_size=8,
    num_workers=1,
  )
  made = loader.make_loader(
    ManySource(), config, start_step=0, num_steps=num_batches
  )
  rows, started = [], time.monotonic()
  for number, _ in enumerate(made, 1):
    if number % 100:
      continue
    (worker,) = multiprocessing.active_children()
    sizes = [
      psutil.Process(pid).memory_info().rss / 2**20
      for pid in (None, worker.pid)
    ]
    rows.append({"batch": number, "main_mb": sizes[0], "worker_mb": sizes[1]})
    if number % 2000 == 0:
      rate = number / (time.monotonic() - started)
      print(f"batch {number}/{num_batches}  {rate:.0f} batches/s  {sizes}")
  made.close()
  return rows


def growth(rows: list[dict], name: str) -> float:
  """Mebibytes gained over 10,000 batches, by a line through the rows."""
  used = rows[int(WARM_UP * len(rows)) :]
  slope = np.polyfit([r["batch"] for r in used], [r[name] for r in used], 1)[0]
  return float(slope * 10_000)


def draw(rows: list[dict], path: str) -> None:
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
  batches = [row["batch"] for row in rows]
  for name, label, style in (
    ("main_mb", "main process", "-"),
    ("worker_mb", "data worker", "--"),
  ):
    axes.plot(batches, [row[name] for row in rows], style, label=label)
  axes.set_ylim(0, 1.3 * max(row["worker_mb"] for row in rows))
  axes.set_xlabel("batches of 8, shuffled over a billion records")
  axes.set_ylabel("resident memory, MiB")
  axes.legend(frameon=False)
  axes.spines[["top", "right"]].set_visible(False)
  figure.savefig(path, dpi=130)


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--batches", type=int, default=20_000)
  parser.add_argument("--picture", required=True)
  given = parser.parse_args()
  rows = measure(given.batches)
  draw(rows, given.picture)
  result = {
    "batches": given.batches,
    "records": NUM_RECORDS,
    **{
      f"{name}_{when}": round(rows[at][name], 1)
      for name in ("main_mb", "worker_mb")
      for when, at in (("first", 0), ("last", -1))
    },
    "main_growth_mb_in_10000": round(growth(rows, "main_mb"), 2),
    "worker_growth_mb_in_10000": round(growth(rows, "worker_mb"), 2),
  }
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
