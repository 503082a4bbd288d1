r"""From which cosine of embeddings on two images count as one.

Run:    python benchmarks/similarity.py --model FILE.onnx --image-size 224 224 \
          [--images DIR] [--photographs DIR]
Needs:  the extra curation; without --images the labelled photographs
        (data_pipelines/curation/photographs), 500 MB to fetch once

Photographs are edited in known ways, and every pair of different ones is
compared. The threshold is the least one, in steps of 0.01, at which no pair of
different photographs of one half counts as one; what it finds, and what it
takes for one by mistake, is counted on the other half, which shares no package
with the first. PDQ is measured beside it. --model is what
`--config.embedding.model` takes, --mean and --std as there. --images is a
folder of photographs of one's own, no two of them alike; every second one by
name is in each half.
"""

import argparse
import functools
import json
import pathlib
import sys

import cv2
import numpy as np

from data_pipelines.common import images
from data_pipelines.curation import duplicates, sampling
from data_pipelines.curation.photographs import (
  fetching,
  heads,
  labels,
  near,
  overlays,
  train_render,
)
from data_pipelines.curation.scorers import hashes
from sapiens2_jax import curate, validation

LONGEST = 1024  # Pixels of a photograph before it is edited.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
# The first ones with people are edited; all photographs are compared.
NUM_EDITED = 60


def crop(image, share):
  """The middle, a bit above it: a share of each side."""
  height, width = (round(side * share) for side in image.shape[:2])
  top, left = (image.shape[0] - height) // 3, (image.shape[1] - width) // 2
  return image[top : top + height, left : left + width]


def shrink(image, factor):
  size = [max(round(side * factor), 1) for side in image.shape[1::-1]]
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def recolour(image):
  """Half the saturation, warmer, darker in the middle tones."""
  grey = image.mean(axis=2, keepdims=True)
  made = (grey + 0.5 * (image - grey)) * [1.1, 1.0, 0.9]
  return np.uint8(255 * (made.clip(0, 255) / 255) ** 1.3)


def letterbox(image):
  """Black bars, a sixth of the height each."""
  bar = image.shape[0] // 6
  return cv2.copyMakeBorder(image, bar, bar, 0, 0, cv2.BORDER_CONSTANT)


EDITS = {
  "JPEG of quality 30": lambda i: train_render.compress(i, LONGEST, 30),
  "half the size": lambda i: shrink(i, 0.5),
  "other colours": recolour,
  "blurred": lambda i: cv2.GaussianBlur(i, (0, 0), min(i.shape[:2]) / 100),
  "a caption": lambda i: overlays.draw(i, overlays.Overlay(0.08, "caption")),
  "cropped to 0.9 of each side": lambda i: crop(i, 0.9),
  "cropped to 0.75": lambda i: crop(i, 0.75),
  "cropped to 0.5": lambda i: crop(i, 0.5),
  "mirrored": lambda i: np.ascontiguousarray(i[:, ::-1]),
  "turned by 10 degrees": lambda i: heads.roll(i, 10),
  "letterbox": letterbox,
}


def find_halves(given):
  """Two lists of (name, kind, how to read it)."""
  if given.images:
    found = [
      (path.name, labels.PERSON, functools.partial(read_path, path))
      for path in sorted(pathlib.Path(given.images).iterdir())
    ]
    return found[::2], found[1::2]
  root = fetching.find_root(given.photographs)
  wanted = [i for i in labels.read_labels() if i.kind in labels.PHOTOS]
  fetching.fetch(root, wanted)
  read = functools.partial(fetching.read_image, root)
  return tuple(
    [
      (image.member, image.kind, functools.partial(read, image))
      for image in wanted
      if image.half == half
    ]
    for half in labels.HALVES
  )


def read_path(path):
  return images.decode_image(path.read_bytes())


def measure(half, embed, hash_one):
  """Vectors and PDQ of photographs, and of the edits of some of them."""
  plain, pdq, edited = [], [], {name: [] for name in EDITS}
  for _, kind, read in half:
    image = read()
    scale = LONGEST / max(image.shape[:2])
    image = shrink(image, scale) if scale < 1 else image
    vector, bits = embed(image), hash_one(image)
    plain.append(vector)
    pdq.append(bits)
    if kind == labels.PERSON and len(edited["mirrored"]) < NUM_EDITED:
      for name, edit in EDITS.items():
        made = edit(image)
        edited[name].append(
          (embed(made) @ vector, is_near(hash_one(made), bits))
        )
  return np.array(plain), pdq, edited


def is_near(one, other):
  """Whether a curation takes two for near by PDQ; each bits and quality."""
  if min(one[1], other[1]) < near.MIN_QUALITY:
    return False
  distance = int(duplicates.count_bits(one[0] ^ other[0]))
  shared = near.share_band(one[0], other[0])
  return distance <= near.MAX_DISTANCE and bool(shared)


def compare(half, plain, pdq):
  """(pairs, 2) rows and (pairs,) cosines of different photographs."""
  rows = np.stack(np.triu_indices(len(plain), 1), axis=1)
  cosines = np.sum(plain[rows[:, 0]] * plain[rows[:, 1]], axis=1)
  same = [is_near(pdq[a], pdq[b]) for a, b in rows]
  return rows[~np.array(same)], cosines[~np.array(same)]


def choose(cosines):
  """The least threshold, in steps of 0.01, that no cosine reaches."""
  return min(int(np.floor(cosines.max() * 100) + 1), 100) / 100


def report(title, half, plain, pdq, edited, threshold):
  """Prints the curve and a line for each edit; returns the counts."""
  rows, cosines = compare(half, plain, pdq)
  print(f"\n{title}: {len(plain)} photographs, {len(cosines)} pairs")
  every = np.array([one[0] for some in edited.values() for one in some])
  for limit in (*THRESHOLDS, threshold):
    wrong = int((cosines >= limit).sum())
    print(
      f"cosine {limit:.2f}: {wrong} different pairs, "
      + labels.describe("edits", int((every >= limit).sum()), len(every))
    )
  for pair in np.argsort(-cosines)[:5]:
    names = " ".join(half[row][0] for row in rows[pair])
    print(f"  nearest different ones {cosines[pair]:.3f} {names}")
  found = {}
  for name, some in edited.items():
    by_cosine = np.array([one[0] >= threshold for one in some])
    by_pdq = np.array([one[1] for one in some])
    counts = [int(x.sum()) for x in (by_pdq, by_cosine, by_pdq | by_cosine)]
    found[name] = [len(some), *counts]
    middle = np.median([one[0] for one in some])
    print(
      f"{name} | {len(some)} | cosine {middle:.3f} (median) | PDQ {counts[0]} "
      f"| from {threshold:.2f} on {counts[1]} | either {counts[2]}"
    )
  wrong = int((cosines >= threshold).sum())
  return {"edits": found, "wrong": wrong, "pairs": len(cosines)}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", required=True)
  parser.add_argument("--image-size", type=int, nargs=2)
  parser.add_argument("--mean", type=float, nargs=3)
  parser.add_argument("--std", type=float, nargs=3)
  parser.add_argument("--images", help="folder of photographs")
  parser.add_argument("--photographs", help="where labelled ones are kept")
  given = parser.parse_args()
  config = validation.default_config("curation")
  config.scorers.first = config.scorers.later = ()
  config.embedding.model = given.model
  for name in ("image_size", "mean", "std"):
    if value := getattr(given, name):
      config.embedding[name] = tuple(value)
  ((scorer,),) = curate.make_settings(config).passes
  hasher = hashes.Hashes()
  for one in (scorer, hasher):
    one.load()

  def embed(image):
    (found,) = scorer.score([image], [{}])
    return sampling.normalize(np.float32(found["vector"])[None])[0]

  def hash_one(image):
    (found,) = hasher.score([image], [{}])
    return np.frombuffer(found["pdq"], np.uint8), found["pdq_quality"]

  tune, test = find_halves(given)
  measured = measure(tune, embed, hash_one)
  threshold = choose(compare(tune, *measured[:2])[1])
  report("tune half", tune, *measured, threshold)
  print(f"\nthreshold {threshold:.2f}")
  found = report("test half", test, *measure(test, embed, hash_one), threshold)
  print(f"RESULT {json.dumps({'threshold': threshold, **found})}")


if __name__ == "__main__":
  sys.exit(main())
