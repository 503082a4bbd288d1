r"""Deciding on many millions of images: seconds, memory, and what all costs.

Run:    python benchmarks/curation.py --rows 200000 2000000 20000000 \
          --directory DIR --picture docs/curation_scale.png
Needs:  the extra curation; for 20 million rows some minutes on two cores, 10 GB
        of disk, 4 GB of memory

Files of scores are made up: a tenth of the rows are exact copies, a fifth
differs in three bits of PDQ from another one, a thousand of them from the same
one. All that curation decides from such files is then done as the pipeline does
it: reading, order, take-down, exact and near duplicates, a balanced sample (of
made-up clusters), the table of decisions. What is kept is compared with what
was planted. Memory is the peak of each process (resident, mapped files
included). The cost of a pass over 4 billion images is computed from this, from
the times in docs/curation_models.md, and from a measurement of decoding,
quality, hashes and of our encoder (CPU time, so threads do not matter).
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil

from data_pipelines.common import images
from data_pipelines.curation import (
  deciding,
  deduplicating,
  duplicates,
  nearness,
  ordering,
  pipeline,
  pool,
  sampling,
  units,
)
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.rows import Rows
from data_pipelines.curation.scorers import make_scorer

SHARD_ROWS = 100_000
CLUSTERS, PARENTS = 1000, 30
NUM_TAKEN_DOWN = 100
COLUMNS = {
  "hashes_pdq": "binary",
  "hashes_pdq_quality": "int32",
  "made_id": "int64",
  "made_label": "int32",
}
IMAGES = 4e9
CORES = 1000
# Which part of the pool a stage sees; ours, and a guess: of the paper's pool a
# quarter is kept at the end, after duplicates.
SEEN = {"decode": 1.0, "quality": 1.0, "hashes": 1.0, "person": 1.0}
SURVIVORS = 0.4
ENCODER, ENCODER_SIZE = "0.1b", (256, 192)
INTERVAL = 0.02  # Seconds between two looks at the processes.


class Made:
  """Stands for the pass that made the files."""

  columns = COLUMNS

  def __init__(self, directory: pathlib.Path):
    self._directory = directory

  def path(self, unit: units.Unit) -> pathlib.Path:
    return self._directory / f"{unit.shard.path}.parquet"


def list_units(num_rows: int) -> list[units.Unit]:
  number = max(1, -(-num_rows // SHARD_ROWS))
  return [
    units.Unit(pool.Shard("tar", f"made-{n:04}", "1")) for n in range(number)
  ]


def plant(ids: np.ndarray, num_rows: int) -> dict[str, np.ndarray]:
  """What each row is a copy of: by the last digit of its number.

  7 is an exact copy of 0; 8 is near 1, the first thousand are near one 1, and
  smaller; 9 is near 2 and larger.
  """
  digit = ids % 10
  content = np.where(digit == 7, ids - 7, ids)
  group = np.where(digit >= 7, ids - 7, ids)
  crowd = min(1000, num_rows // 100)
  group[(digit == 8) & (ids < 10 * crowd)] = 1
  return {
    "content": content,
    "group": group,
    "is_near": digit >= 8,
    "width": np.choose(digit // 8 * (digit - 7), [900, 800, 1000]),
  }


def randomize(numbers: np.ndarray, purpose: int, num_words: int) -> np.ndarray:
  """(n, 8 num_words) uint8, of the numbers alone."""
  words = numbers.astype(np.uint64)[:, None] * np.uint64(num_words)
  words = words + np.arange(num_words, dtype=np.uint64)
  salt = np.uint64(purpose) << np.uint64(56)
  return sampling.mix(words ^ salt).astype(">u8").view(np.uint8)


def write_scores(directory: pathlib.Path, num_rows: int) -> None:
  """Files of scores, rows dealt out to them in turn."""
  import pyarrow
  from pyarrow import parquet

  made, task = list_units(num_rows), Made(directory)
  kinds = {**units.FIXED, **COLUMNS}
  schema = pyarrow.schema(
    (name, units.arrow_type(pyarrow, kind)) for name, kind in kinds.items()
  )
  for number, unit in enumerate(made):
    ids = np.arange(number, num_rows, len(made))
    what = plant(ids, num_rows)
    pdq = np.unpackbits(randomize(what["group"], 1, 4), axis=1)
    flips = randomize(ids, 2, 1)[:, :3]
    near = np.flatnonzero(what["is_near"])
    for place in range(3):
      pdq[near, flips[near, place]] ^= 1
    content = [row.tobytes().hex() for row in randomize(what["content"], 3, 4)]
    known = [row.tobytes().hex() for row in randomize(ids, 4, 2)]
    shard = unit.shard.id
    columns = {
      **dict.fromkeys(kinds),
      "shard": pyarrow.repeat(shard, len(ids)),
      "row": np.arange(len(ids), dtype=np.int32),
      "name": [f"images/{one:09}.jpg" for one in ids],
      "content_hash": content,
      "key": [f"{one} {shard} {row:09}" for row, one in enumerate(known)],
      "height": pyarrow.repeat(np.int32(1000), len(ids)),
      "width": what["width"],
      "num_bytes": ids.astype(np.int64),
      "hashes_pdq": [row.tobytes() for row in np.packbits(pdq, axis=1)],
      "hashes_pdq_quality": pyarrow.repeat(np.int32(100), len(ids)),
      "made_id": ids,
      "made_label": pick_label(what["content"]),
    }
    arrays = [
      pyarrow.nulls(len(ids), field.type)
      if columns[field.name] is None
      else pyarrow.array(columns[field.name], field.type)
      for field in schema
    ]
    table = pyarrow.Table.from_arrays(arrays, schema=schema)
    parquet.write_table(table, task.path(unit), compression="zstd")


def pick_label(content: np.ndarray) -> np.ndarray:
  """A cluster for each content: the first ones have most."""
  uniform = ordering.read_prefix(randomize(content, 5, 1)) / 2.0**64
  return (CLUSTERS * uniform**3).astype(np.int32)


def decide(directory: pathlib.Path, num_rows: int, workers: int) -> dict:
  """What the pipeline does with scores; returns seconds of each stage."""
  tables = directory / "tables"
  tables.mkdir(exist_ok=True)
  seconds, started = {}, time.monotonic()

  def note(stage: str) -> None:
    seconds[stage] = round(
      time.monotonic() - started - sum(seconds.values()), 2
    )

  rows = Rows(Made(directory), list_units(num_rows), {}, tables)
  decisions = deciding.Decisions(len(rows))
  note("read and order")
  # Of images that are near to none, so that nothing else changes.
  gone = np.arange(3, 10 * NUM_TAKEN_DOWN, 10)
  listed = frozenset(one.tobytes().hex() for one in randomize(gone, 3, 4))
  down = deduplicating.take_down(rows, decisions, listed)
  note("take-down")
  deduplicating.remove_exact(rows, decisions)
  note("exact")
  engine, near = Engine("native", workers), nearness.Nearness()
  best = (deduplicating.NUM_PIXELS, "num_bytes")
  deduplicating.remove_near(rows, decisions, down, tables, engine, near, best)
  note("near")
  kept = decisions.kept
  checking = time.process_time()
  check_kept(rows, decisions, num_rows)
  checking = time.process_time() - checking
  note("check")
  labels = rows.numbers("made_label", kept).astype(np.int32)
  parents = np.arange(CLUSTERS) * PARENTS // CLUSTERS
  target, cap = num_rows // 10, max(1, num_rows // 200)
  taken = sampling.sample(
    [labels, parents],
    pipeline.read_keys(rows, kept),
    target=target,
    cap=cap,
    seed=0,
  )
  sizes = np.bincount(labels[taken])
  if len(np.unique(taken)) != len(taken) or sizes.max() > cap:
    raise AssertionError(f"{len(taken)} rows, {sizes.max()} of a cluster")
  note("sample")
  left = np.setdiff1d(kept, kept[taken])
  decisions.reject("balance", [(pipeline.make_mask(rows, left), "not sampled")])
  rows.write(directory / "decisions.parquet", decisions, listed)
  note("write")
  del seconds["check"]
  return {
    "stages": seconds,
    "checking": checking,
    "kept": len(kept),
    "sampled": len(taken),
  }


def check_kept(rows: Rows, decisions, num_rows: int) -> None:
  """Compares what is kept, and for whom, with what was planted."""
  is_kept, num_duplicates = np.zeros(num_rows, bool), 0
  all_ids = rows.numbers("made_id").astype(np.int32)
  for start in range(0, num_rows, units.BLOCK):
    some = np.arange(start, min(start + units.BLOCK, num_rows))
    what = plant(all_ids[some].astype(np.int64), num_rows)
    kept = what["content"][decisions.codes[some] == 0]
    if is_kept[kept].any() or len(np.unique(kept)) < len(kept):
      raise AssertionError("two copies of one image are kept")
    is_kept[kept] = True
    left = np.flatnonzero(decisions.same_as[some] >= 0)
    num_duplicates += len(left)
    others = all_ids[decisions.same_as[some[left]]].astype(np.int64)
    groups = plant(others, num_rows)["group"]
    if not np.array_equal(groups, what["group"][left]):
      raise AssertionError("an image was left out for one of another group")
  digit = np.arange(num_rows, dtype=np.int32) % 10
  is_best = (digit != 2) & (digit != 7) & (digit != 8)
  is_best[3 : 10 * NUM_TAKEN_DOWN : 10] = False
  if not np.array_equal(is_kept, is_best):
    raise AssertionError(f"{is_kept.sum()} kept, expected {is_best.sum()}")
  if num_duplicates != 3 * num_rows // 10:
    raise AssertionError(f"{num_duplicates} of {num_rows} rows are duplicates")


def watch(command: list[str]) -> tuple[str, dict]:
  """Runs a command; returns what it printed and what its processes took."""
  with tempfile.TemporaryFile("w+") as log:
    process = subprocess.Popen(command, stdout=log)
    own, peaks, cpu = psutil.Process(process.pid), {}, {}
    started = time.monotonic()
    while process.poll() is None:
      for one in [own, *_children(own)]:
        try:
          status = pathlib.Path(f"/proc/{one.pid}/status").read_text()
          times = one.cpu_times()
        except (psutil.Error, OSError):
          continue
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
          peaks[one.pid] = int(peak[1]) * 1024
        cpu[one.pid] = times.user + times.system
      time.sleep(INTERVAL)
    seconds = time.monotonic() - started
    if process.returncode:
      sys.exit(f"failed with {process.returncode}: {' '.join(command)}")
    log.seek(0)
    text = log.read()
  return text, {
    "seconds": round(seconds, 1),
    "cpu_seconds": round(sum(cpu.values()), 1),
    "deciding_gb": round(peaks.pop(process.pid) / 1e9, 3),
    "others_gb": round(max(peaks.values()) / 1e9, 3),
  }


def _children(process: psutil.Process) -> list[psutil.Process]:
  try:
    return process.children(recursive=True)
  except psutil.Error:
    return []


def measure(num_rows: int, given: argparse.Namespace) -> dict:
  """Makes files, decides in another process, and removes all."""
  directory = pathlib.Path(tempfile.mkdtemp(dir=given.directory))
  try:
    started = time.monotonic()
    write_scores(directory, num_rows)
    made = time.monotonic() - started
    command = [sys.executable, __file__, "--decide", str(directory)]
    command += ["--rows", str(num_rows), "--workers", str(given.workers)]
    text, found = watch(command)
  finally:
    shutil.rmtree(directory)
  found |= {"rows": num_rows, **json.loads(text.splitlines()[-1])}
  found["cpu_seconds"] = round(found["cpu_seconds"] - found.pop("checking"), 1)
  print(f"{num_rows} rows made in {made:.0f} s: {found}", flush=True)
  return found


def time_scorers(num_images: int) -> dict[str, float]:
  """Milliseconds of CPU an image, of 1600 x 1200 pixels."""
  import cv2

  cv2.setNumThreads(1)
  generator = np.random.default_rng(0)
  files = []
  for _ in range(num_images):
    picture = np.zeros((1200, 1600, 3), np.float32)
    for side in (4, 16, 64, 256):  # As rough as photographs are.
      noise = generator.normal(size=(side * 3 // 4, side, 3)) * 120 / side**0.5
      picture += cv2.resize(noise.astype(np.float32), (1600, 1200))
    picture = np.clip(picture + 128, 0, 255).astype(np.uint8)
    files.append(cv2.imencode(".jpg", picture)[1].tobytes())
  found = {}
  started = time.process_time()
  decoded = [images.decode_image(data) for data in files]
  found["decode"] = time.process_time() - started
  for name in ("quality", "hashes"):
    scorer = make_scorer(name)
    scorer.load()
    started = time.process_time()
    scorer.score(decoded, [{}] * len(decoded))
    found[name] = time.process_time() - started
  return {name: 1000 * x / num_images for name, x in found.items()}


def time_encoder(size: str, num_images: int) -> float:
  """Milliseconds of CPU an image of our encoder, one image a call."""
  import jax

  from sapiens2_jax.architectures import ARCHITECTURES
  from sapiens2_jax.models.encoder import Encoder

  encoder = Encoder(ARCHITECTURES[size])
  image = np.zeros((1, *ENCODER_SIZE, 3), np.float32)
  params = jax.jit(encoder.init)(jax.random.key(0), image)
  run = jax.jit(lambda params, image: encoder.apply(params, image).cls)
  jax.block_until_ready(run(params, image))
  started = time.process_time()
  for _ in range(num_images):
    jax.block_until_ready(run(params, image))
  return 1000 * (time.process_time() - started) / num_images


def read_model_times() -> dict[str, float]:
  """Milliseconds an image, as docs/curation_models.md has them."""
  page = pathlib.Path(__file__).parents[1] / "docs/curation_models.md"
  rows = re.findall(
    r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", page.read_text(), re.MULTILINE
  )
  return {name: float(number) for name, number in rows}


def estimate(times: dict[str, float], measured: list[dict]) -> dict:
  """The pass over 4 billion images."""
  hours = {
    name: SEEN.get(name, SURVIVORS) * IMAGES * ms / 3.6e6
    for name, ms in times.items()
  }
  last = measured[-1]
  hours["deciding"] = last["cpu_seconds"] / last["rows"] * IMAGES / 3600
  from sapiens2_jax.architectures import ARCHITECTURES

  row_bytes = {
    "order": 48,  # hashes of content and of the rest
    "bands": 32 + 8 * duplicates.NUM_BANDS,
    "embeddings": SURVIVORS * 4 * ARCHITECTURES[ENCODER].embed_dim,
  }
  total = sum(hours.values()) - hours["embedding"]
  first, growth = measured[0], None
  if last["rows"] > first["rows"]:
    growth = (last["deciding_gb"] - first["deciding_gb"]) / (
      last["rows"] - first["rows"]
    )
  return {
    "milliseconds": {name: round(ms, 2) for name, ms in times.items()},
    "core_hours": {name: round(x) for name, x in hours.items()},
    "core_hours_without_embedding": round(total),
    "days_on_1000_cores": round(total / CORES / 24, 1),
    "moved_tb": {
      name: round(IMAGES * x / 1e12, 2) for name, x in row_bytes.items()
    },
    "deciding_gb": growth and round(growth * IMAGES),
  }


def draw(measured: list[dict], path: str) -> None:
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, (left, right) = pyplot.subplots(
    1, 2, figsize=(8, 3.2), layout="constrained"
  )
  counts = [found["rows"] for found in measured]
  for axes, lines in (
    (left, {"cpu_seconds": "all processes"}),
    (right, {"deciding_gb": "process that decides", "others_gb": "others"}),
  ):
    for (key, label), style in zip(lines.items(), ("o-", "o--")):
      axes.plot(counts, [one[key] for one in measured], style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="rows")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
  right.axhline(2, color="grey", linewidth=0.8)
  right.set_ylabel("peak memory of a process, GB")
  last = measured[-1]
  line = [last["cpu_seconds"] * n / last["rows"] for n in counts]
  left.plot(counts, line, ":", color="grey", label="linear")
  left.legend(frameon=False)
  left.set_ylabel("CPU seconds")
  figure.savefig(path, dpi=130)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, nargs="+", required=True)
  parser.add_argument("--workers", type=int, default=2)
  parser.add_argument("--directory", help="for large files")
  parser.add_argument("--picture", help="to draw into")
  parser.add_argument("--images", type=int, default=20, help="that are timed")
  parser.add_argument(
    "--encoder", default=ENCODER, help="size of ours that is timed"
  )
  parser.add_argument("--decide", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.decide:
    (num_rows,) = given.rows
    found = decide(pathlib.Path(given.decide), num_rows, given.workers)
    print(json.dumps(found))
    return
  measured = [measure(num_rows, given) for num_rows in sorted(given.rows)]
  times = {
    **time_scorers(given.images),
    **read_model_times(),
    "embedding": time_encoder(given.encoder, given.images),
  }
  if given.picture:
    draw(measured, given.picture)
  result = {"measured": measured, "cost": estimate(times, measured)}
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
