"""The peer of loader.py: a multi-crop pipeline on torchvision v2, one thread.

Runs in an environment of its own (torchvision needs another torch than the
tests); loader.py starts it. For each line on stdin, NAME COUNT, it makes the
views of COUNT images and answers with the seconds of each; for CHECK NAME it
saves the first image's crops as they are before augmentation.
"""

import argparse
import io
import json
import pathlib
import sys
import time

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_jpeg
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINISH = [
  v2.ToImage(),
  v2.ToDtype(torch.float32, scale=True),
  v2.Normalize(MEAN, STD),
]
GLOBAL = v2.Compose([v2.RandomHorizontalFlip(), *FINISH])
LOCAL = v2.Compose(
  [
    v2.RandomHorizontalFlip(),
    v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
    v2.RandomGrayscale(0.2),
    v2.RandomApply([v2.GaussianBlur(9, (0.1, 2.0))], p=0.5),
    v2.RandomSolarize(128, p=0.2),
    *FINISH,
  ]
)


def decode(data: bytes, kind: str):
  if kind == "tensor":
    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
  return Image.open(io.BytesIO(data)).convert("RGB")


def crop(image, plan: dict, interpolation) -> list[list]:
  """Global and local crops of one image; boxes are whole pixels."""
  return [
    [
      functional.resized_crop(
        image, *box, size, interpolation=interpolation, antialias=True
      )
      for box in boxes
    ]
    for boxes, size in zip(plan["boxes"], plan["sizes"])
  ]


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--plans", required=True)
  parser.add_argument("--kind", choices=("pil", "tensor"), required=True)
  parser.add_argument("--interpolation", required=True)
  given = parser.parse_args()
  torch.set_num_threads(1)
  torch.manual_seed(0)
  interpolation = v2.InterpolationMode(given.interpolation)
  photos = json.loads(pathlib.Path(given.plans).read_text())
  data = {name: pathlib.Path(name).read_bytes() for name in photos}
  done = dict.fromkeys(photos, 0)
  for line in sys.stdin:
    command, argument = line.rstrip("\n").split("\t")
    if command == "CHECK":
      image = decode(data[argument], given.kind)
      views = crop(image, photos[argument][0], interpolation)
      if given.kind == "tensor":
        views = [[view.permute(1, 2, 0) for view in group] for group in views]
      np.savez(
        f"{given.plans}.npz",
        *(np.stack(list(map(np.asarray, g))) for g in views),
      )
      print("{}", flush=True)
      continue
    seconds = []
    for _ in range(int(argument)):
      plans = photos[command]
      plan = plans[done[command] % len(plans)]
      done[command] += 1
      start = time.perf_counter()
      views = crop(decode(data[command], given.kind), plan, interpolation)
      torch.stack([GLOBAL(view) for view in views[0]])
      torch.stack([LOCAL(view) for view in views[1]])
      seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
  main()
