r"""Finds what fits on GPUs, for every size and task, and writes docs/gpus.md.

  python -m benchmarks.gpu_plans [--only 0.1b] [--output docs] [--write]

Needs no GPU. Traces each step with 2 and with 16 images a card, and takes the
memory between the two as a straight line: it grows faster and faster, so that
the line is never below it. Finished traces are kept in gpu_plans.jsonl beside
the page and not made again. `--write` only writes the page; `--only toy` makes
a row of the toy, which is not on the page of docs.
"""

import argparse
import dataclasses
import json
import os

from data_pipelines.common import jsonl

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CARDS = ("rtx4090", "l40s", "h100")  # 24, 48 and 80 GB
SIZES = ("0.1b", "0.4b", "0.8b", "1b")
TASKS = ("normal", "pose", "segmentation", "pointmap", "albedo", "matting")
FEW, MANY = 2, 16  # images of a microbatch on a card
IMAGES = (16, 8, 4, 2)
TASK_BATCH = 64  # images of a step, the default of tasks
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def experiment(job: str, size: str) -> str:
  if job == "pretrain":
    return f"experiments/pretrain.py:size={size}"
  return f"experiments/finetune.py:task={job},size={size}"


def step_images(job: str, cards: int) -> int:
  """Of a card: 2048 on eight in pretraining, which one cannot hold."""
  return 256 if job == "pretrain" else TASK_BATCH // cards


def overrides(job: str, images: int, cards: int) -> list[str]:
  """Of a run with so many images a card in a microbatch, in two of them."""
  found = [
    f"data.global_batch_size={2 * images * cards}",
    "data.accumulation_steps=2",
    "model.remat=full",
  ]
  if job == "pretrain" and images * cards < 16:  # KoLeo's groups are of 16.
    found.append(f"objective.koleo_group_size={images * cards}")
  return found


def measure(job: str, size: str) -> dict:
  """Bytes by kind: cards -> images -> account."""
  from sapiens2_jax import config as config_lib
  from sapiens2_jax import validation
  from sapiens2_jax.planning import gpu_memory

  found = {"1": {}, "8": {}}
  for images in (FEW, MANY):
    traced = None
    for cards in (1, 8):
      config = config_lib.load_config(
        experiment(job, size),
        overrides(job, images, cards),
        lambda config, cards=cards: validation.validate(config, cards),
      )
      # One device's program is the same on one card and on eight.
      traced = traced or gpu_memory.trace(config, "gpu", cards)
      memory = gpu_memory.account(traced, config, cards)
      found[str(cards)][str(images)] = dataclasses.asdict(memory)
  return {"job": job, "size": size, "memory": found}


def largest(row: dict, cards: int, limit: int) -> int:
  """Images of a microbatch that fit on each card; 0 for none."""
  from sapiens2_jax.planning.gpu_plan import RESERVED_BYTES, UNCERTAINTY

  few, many = (dict(row["memory"][str(cards)][str(n)]) for n in (FEW, MANY))
  # Traced with two microbatches; all of a step are on the card.
  batch = few.pop("batch") / (2 * FEW) * step_images(row["job"], cards)
  many.pop("batch")
  few, many = sum(few.values()), sum(many.values())
  for images in IMAGES:
    total = batch + few + (many - few) * (images - FEW) / (MANY - FEW)
    if images <= step_images(row["job"], cards) and (
      total * (1 + UNCERTAINTY) + RESERVED_BYTES <= limit
    ):
      return images
  return 0


def read_rows(output: str) -> dict[tuple, dict]:
  rows = jsonl.read_rows(os.path.join(output, "gpu_plans.jsonl"))
  return {(row["job"], row["size"]): row for row in rows}


def format_table(rows: dict[tuple, dict]) -> str:
  """Images x accumulation steps, by job, size and cards."""
  from sapiens2_jax.gpus import GPUS

  heads = [f"{n} x {GPUS[card].name}" for n in (1, 8) for card in CARDS]
  lines = [f"| run | size | {' | '.join(heads)} |", "|---" * 8 + "|"]
  for (job, size), row in sorted(rows.items(), key=_order):
    cells = []
    for cards in (1, 8):
      for card in CARDS:
        images = largest(row, cards, GPUS[card].memory_bytes)
        steps = step_images(job, cards) // images if images else 0
        cells.append(f"{images} x {steps}" if images else "-")
    lines.append(f"| {job} | {size} | {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _order(item: tuple) -> tuple:
  jobs = ("pretrain", *TASKS)
  (job, size), _ = item
  return jobs.index(job), size


def write_page(output: str) -> None:
  """Puts the table in its place on the page, or on a page of its own."""
  path, table = os.path.join(output, "gpus.md"), format_table(read_rows(output))
  text = BEGIN + END
  if os.path.exists(path):
    with open(path) as file:
      text = file.read()
  before, _, rest = text.partition(BEGIN)
  _, _, after = rest.partition(END)
  with open(path, "w") as file:
    file.write(before + BEGIN + table + END + after)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", help="a size")
  parser.add_argument(
    "--output", default=os.path.join(ROOT, "docs"), help="where all is kept"
  )
  parser.add_argument("--write", action="store_true", help="no new traces")
  given = parser.parse_args()
  import jax

  jax.config.update("jax_platforms", "cpu")
  sizes = [given.only] if given.only else SIZES
  jobs = ("pretrain",) if given.only == "toy" else ("pretrain", *TASKS)
  wanted = [(job, size) for job in jobs for size in sizes]
  for key in () if given.write else wanted:
    if key in read_rows(given.output):
      continue
    print(f"gpu_plans: {' '.join(key)}", flush=True)
    row = measure(*key)
    with open(os.path.join(given.output, "gpu_plans.jsonl"), "a") as file:
      file.write(json.dumps(row) + "\n")
    write_page(given.output)
  write_page(given.output)
  print("RESULT " + json.dumps({"rows": len(read_rows(given.output))}))


if __name__ == "__main__":
  main()
